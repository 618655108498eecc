"""The rows of a grid against one of them, face by face."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.grid import Cell
from experiments.grids.results import START
from experiments.grids.tables import Entry, Table
from experiments.intervals import bootstrap_interval
from experiments.scoring import LOOSE_CROPPED_AGAIN, Protocol, score

Errors = Mapping[tuple[str, str], npt.NDArray[np.float64]]
"""By protocol and subset, the NME of each face in %."""

PROTOCOLS: Final = (Protocol(), LOOSE_CROPPED_AGAIN)
"""The annotated box; and a loose one, cropped again."""

_HEAD: Final = ("protocol", "subset", "nme")


def difference_table(runner: Runner, cells: Sequence[Cell], against: str) -> Table:
    """Mean NME of each row, and how far it is from that of the row ``against``, under each of :data:`PROTOCOLS`.

    A difference is taken on the same face and seed; its 95 % interval comes from resampling seeds and faces.

    Args:
        runner: of the grid.
        cells: those that are done.
        against: a row's name, or that of the start.

    Raises:
        UsageError: no such row is done; the message suggests the nearest.
    """
    errors: dict[str, dict[int, Errors]] = {}
    for cell in cells:
        errors.setdefault(cell.row, {})[cell.seed] = _of_cell(runner, cell)
        errors.setdefault(START, {})[cell.seed] = _of_start(runner, cell)
    if against not in errors:
        raise UsageError(f"--against={against}: no such row is done. {nearest(against, errors)}")
    columns = list(next(iter(errors[against].values())))
    names = [START, *(row for row in runner.grid.rows if row in errors)]
    lines: list[list[Entry]] = []
    for name in names:
        seeds = sorted(set(errors[name]) & set(errors[against]))
        found = [(_table(errors[name], seeds, c), _table(errors[against], seeds, c)) for c in columns]
        lines.append([name, *(_entry(ours, theirs, name == against) for ours, theirs in found), f"{len(seeds)}"])
    head = ["", *(f"{subset}, {protocol}" for protocol, subset in columns), "seeds"]
    return Table(f"{runner.grid.name}: NME %, and its difference from {against} (95 % interval)", head, lines)


def _table(errors: Mapping[int, Errors], seeds: Sequence[int], column: tuple[str, str]) -> npt.NDArray[np.float64]:
    return np.stack([errors[seed][column] for seed in seeds])


def _entry(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], same: bool) -> str:
    mean = f"{ours.mean():.2f}"
    if same:
        return mean
    low, high = bootstrap_interval(ours - theirs)
    return f"{mean}: {(ours - theirs).mean():+.2f} ({low:+.2f} to {high:+.2f})"


def _of_cell(runner: Runner, cell: Cell) -> Errors:
    folder = runner.out / cell.name
    return _kept(runner, cell, folder / "checkpoints" / "last.ckpt", folder / "faces.csv")


def _of_start(runner: Runner, cell: Cell) -> Errors:
    start = runner.start_of(cell)
    if start is None:
        raise UsageError(f"row {cell.row!r} has no start to compare with; give --rows that have one.")
    return _kept(runner, cell, start, runner.out / f"start-{start.parent.name}.faces.csv")


def _kept(runner: Runner, cell: Cell, checkpoint: Path, file: Path) -> Errors:
    """A checkpoint's errors on the test faces of a cell, measured once and kept in ``file``."""
    errors: Errors = {}
    if file.exists() and file.stat().st_mtime >= checkpoint.stat().st_mtime:
        errors = _read(file)
    # An earlier version may have measured by other protocols.
    if {protocol for protocol, _ in errors} != set(map(str, PROTOCOLS)):
        _measure(runner, cell, checkpoint, file)
        errors = _read(file)
    return errors


def _read(file: Path) -> Errors:
    errors: dict[tuple[str, str], list[float]] = {}
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            errors.setdefault((row["protocol"], row["subset"]), []).append(float(row["nme"]))
    return {column: np.array(values) for column, values in errors.items()}


def _measure(runner: Runner, cell: Cell, checkpoint: Path, file: Path) -> None:
    cli, landmarker = runner.in_cell(cell), load_landmarker(checkpoint)
    cli.data.setup("test")
    device = cli.trainer.strategy.root_device
    rows: list[tuple[str, str, str]] = []
    for protocol in PROTOCOLS:
        for test in cli.data.test_sets:
            faces = score(landmarker, [test], cli.data.eval_batch_size, 0, device, protocol).per_face
            named = zip(faces, test.subsets, strict=True)
            rows += [(str(protocol), name, f"{face.nme:.6f}") for face, subsets in named for name in subsets]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([_HEAD, *rows])
