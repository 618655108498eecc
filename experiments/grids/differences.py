"""The rows of a grid against one of them, face by face."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.artifacts.store import key_of
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.grid import Cell
from experiments.grids.results import START
from experiments.grids.tables import Entry, Interval, Table
from experiments.intervals import bootstrap_interval, holm, paired_p
from experiments.scoring import LOOSE_CROPPED_AGAIN, Protocol, score

Column = tuple[str, str]
"""A protocol and a subset."""

PROTOCOLS: Final = (Protocol(), LOOSE_CROPPED_AGAIN)
"""The annotated box; and a loose one, cropped again."""

_HEAD: Final = ("protocol", "subset", "nme", "face")


@dataclass(frozen=True)
class FaceErrors:
    """The NME of each face in %, shape ``(N,)``, and the faces' names (empty in files of an earlier version)."""

    nme: npt.NDArray[np.float64]
    faces: Sequence[str]

    def are_of(self, others: "FaceErrors") -> bool:
        """Whether both are of the same faces."""
        unnamed = not (any(self.faces) and any(others.faces))
        return len(self.nme) == len(others.nme) and (unnamed or list(self.faces) == list(others.faces))


Errors = Mapping[Column, FaceErrors]
"""By protocol and subset, the NME of each face."""


@dataclass(frozen=True)
class Comparison:
    """Rows of a grid, the start among them where they have one, against one of them.

    Attributes:
        grid: its name.
        against: the row that all are compared with, or the start.
        errors: by row and seed.
    """

    grid: str
    against: str
    errors: Mapping[str, Mapping[int, Errors]]

    @property
    def columns(self) -> list[Column]:
        """Those of all rows."""
        return list(dict.fromkeys(c for seeds in self.errors.values() for found in seeds.values() for c in found))

    def differences(self) -> Table:
        """Mean NME of each row, and how far it is from that of the row ``against``.

        A difference is taken on the same face and seed; its 95 % interval comes from resampling seeds and faces.
        """

        def entry(row: str, column: Column) -> Entry:
            ours, theirs = self.pair(row, column)
            if row == self.against or not ours.size:
                return f"{ours.mean():.2f}" if ours.size else None
            return f"{ours.mean():.2f}: {_interval(ours - theirs, signed=True)}"

        title = f"{self.grid}: NME %, and its difference from {self.against} (95 % interval)"
        return self._table(title, entry, "A difference is taken on the same faces and seeds; –: there are none.")

    def intervals(self) -> Table:
        """Mean NME of each row with its 95 % interval, from resampling seeds and faces."""

        def entry(row: str, column: Column) -> Entry:
            found = [errors[column] for errors in self.errors[row].values() if column in errors]
            return _interval(np.stack([errors.nme for errors in found])) if found else None

        return self._table(f"{self.grid}: NME %, with its 95 % interval over faces and seeds", entry)

    def tests(self) -> Table:
        """P of no difference from the row ``against``: paired permutation test, corrected by Holm over the rows."""
        p: dict[tuple[str, Column], float] = {}
        for column in self.columns:
            pairs = {row: self.pair(row, column) for row in self.errors if row != self.against}
            raw = {row: paired_p(ours - theirs) for row, (ours, theirs) in pairs.items() if ours.size}
            p |= {(row, column): value for row, value in zip(raw, holm(list(raw.values())), strict=True)}

        def entry(row: str, column: Column) -> Entry:
            value = p.get((row, column))
            return None if value is None else f"{value:.4f}"

        title = f"{self.grid}: p of no difference from {self.against}"
        how = (
            "Paired permutation test of each face's mean over seeds, two-sided; corrected by Holm over a column's rows."
        )
        return self._table(title, entry, how)

    def pair(self, row: str, column: Column) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """NME of a row and of ``against``, shape ``(S, N)`` each, of the seeds and faces that both have; else empty."""
        ours, theirs = self.errors[row], self.errors[self.against]
        seeds = [s for s in sorted(set(ours) & set(theirs)) if column in ours[s] and column in theirs[s]]
        seeds = [seed for seed in seeds if ours[seed][column].are_of(theirs[seed][column])]
        tables = ([errors[seed][column].nme for seed in seeds] for errors in (ours, theirs))
        first, second = (np.array(table, dtype=np.float64) for table in tables)
        return first, second

    def _table(self, title: str, entry: Any, *notes: str) -> Table:
        lines = []
        for row, found in self.errors.items():
            seeds = set(found) & set(self.errors[self.against])
            lines.append([row, *(entry(row, column) for column in self.columns), f"{len(seeds)}"])
        return Table(
            title, ["", *(f"{subset}, {protocol}" for protocol, subset in self.columns), "seeds"], lines, notes
        )


def compare(runner: Runner, cells: Sequence[Cell], against: str) -> Comparison:
    """Measure the finished cells of a grid and their start face by face, under each of :data:`PROTOCOLS`.

    Args:
        runner: of the grid.
        cells: those that are done.
        against: a row's name, or that of the start, where all cells of a seed have one and the same.

    Raises:
        UsageError: no such row is done; the message suggests the nearest.
    """
    found: dict[str, dict[int, Errors]] = {START: {}}
    for seed, (start, cell) in _starts(runner, cells).items():
        found[START][seed] = _kept(runner, cell, start, runner.out / f"start-{start.parent.name}.faces.csv")
    for row in runner.grid.rows:
        found[row] = {cell.seed: _of_cell(runner, cell) for cell in cells if cell.row == row}
    errors = {row: seeds for row, seeds in found.items() if seeds}
    if against not in errors:
        raise UsageError(f"--against={against}: no such row is done. {nearest(against, errors)}")
    return Comparison(runner.grid.name, against, errors)


def _interval(values: npt.NDArray[np.float64], signed: bool = False) -> Interval:
    return Interval(float(values.mean()), *bootstrap_interval(values), signed)


def _starts(runner: Runner, cells: Sequence[Cell]) -> dict[int, tuple[Path, Cell]]:
    """The start of each seed, and a cell that went on from it; none where rows have several, or test other faces."""
    asked: dict[tuple[int, str], tuple[Path, Cell]] = {}
    for cell in cells:
        key = cell.seed, _start_key(runner, cell)
        if key not in asked and (start := runner.start_of(cell)):
            asked[key] = start, cell
    by_seed = {seed: [found for (of, _), found in asked.items() if of == seed] for seed, _ in asked}
    settings = {runner.grid.choices_of(cell, runner.folders).setting for cell in cells}
    several = any(len({start for start, _ in found}) > 1 for found in by_seed.values())
    return {} if several or len(settings) > 1 else {seed: found[0] for seed, found in by_seed.items()}


def _start_key(runner: Runner, cell: Cell) -> str:
    """Differs where cells may have different starts: to ask for one, a cell may have to be composed, for seconds."""
    choices = asdict(runner.grid.choices_of(cell, runner.folders))
    parts: list[Any] = [choices[name] for name in ("setting", "landmarker", "profile", "overrides")]
    for layer in choices["config"]:
        parts += [layer.get(name) for name in ("data", "pretraining", "paths", "trainer")]
        parts.append(layer.get("model", {}).get("init_args", {}).get("landmarker"))
    return key_of({"parts": parts})


def _of_cell(runner: Runner, cell: Cell) -> Errors:
    folder = runner.out / cell.name
    checkpoint: Path | None = folder / "checkpoints" / "last.ckpt"
    if checkpoint and not checkpoint.exists():
        # A row that shows what the start does has not trained.
        checkpoint = runner.start_of(cell)
    if checkpoint is None:
        raise UsageError(
            f"{folder}: has no checkpoints/last.ckpt to measure. Run the cell again, or leave its row out."
        )
    return _kept(runner, cell, checkpoint, folder / "faces.csv")


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
    rows: dict[Column, list[tuple[float, str]]] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            rows.setdefault((row["protocol"], row["subset"]), []).append((float(row["nme"]), row.get("face") or ""))
    return {
        column: FaceErrors(np.array([nme for nme, _ in found]), [face for _, face in found])
        for column, found in rows.items()
    }


def _measure(runner: Runner, cell: Cell, checkpoint: Path, file: Path) -> None:
    cli, landmarker = runner.in_cell(cell), load_landmarker(checkpoint)
    cli.data.setup("test")
    device = cli.trainer.strategy.root_device
    rows: list[tuple[str, ...]] = []
    for protocol in PROTOCOLS:
        for test in cli.data.test_sets:
            faces = score(landmarker, [test], cli.data.eval_batch_size, 0, device, protocol).per_face
            named = zip(faces, test.subsets, strict=True)
            rows += [
                (str(protocol), name, f"{face.nme:.6f}", _name(face.path))
                for face, subsets in named
                for name in subsets
            ]
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out:
        csv.writer(out).writerows([_HEAD, *rows])


def _name(path: str) -> str:
    """The same wherever a data set lies."""
    return "/".join(Path(path).parts[-3:])
