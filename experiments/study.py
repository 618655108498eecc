"""``python -m experiments study``: many short adaptations from one start, and their table.

A study is a YAML file (see ``experiments/studies/``): what all its cells share, its rows (each a small configuration
delta), and one option that takes several values. A cell is one row at one value and one seed: the phases of
``face_warping``, an epoch each, scored after each. All cells of a seed see the same batches from the same start, so
that they differ by their row alone. Cells that are already in the output folder are not run again, and several
processes may share the work (``--part 1/2``).
"""

import argparse
import json
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from datamodules.faces import FaceBatch, FaceSet, collate
from datamodules.setting import SettingDataModule
from datamodules.transforms import FaceTransform
from experiments.checkpoints import load_weights, read_checkpoint
from experiments.cli import WarpmarkCLI
from experiments.errors import UsageError, nearest
from experiments.pointing import Pointing, pointing
from experiments.pretraining import provide_pretrained
from experiments.scoring import score
from experiments.study_table import Cell, pointing_table, study_table
from experiments.train import compose, parse

log = logging.getLogger(__name__)

STUDIES: Final = Path(__file__).with_name("studies")
_KEYS: Final = {"names", "seeds", "option", "values", "base", "cells", "fixed_rows", "rows"}


@dataclass(frozen=True)
class Study:
    """What a study file says.

    Attributes:
        name: the file's, without suffix.
        names: ``setting``, ``method``, ``landmarker``, ``profile``: as ``make train`` takes them.
        seeds: of starts and batches.
        option: the dotted option that takes several values.
        values: its values.
        base: configuration laid over the named choices, for starts and cells.
        cells: configuration laid over that in every cell.
        fixed_rows: rows on which the option has no effect: run at its first value only.
        rows: configuration deltas by name, laid over both.
    """

    name: str
    names: dict[str, str]
    seeds: list[int]
    option: str
    values: list[float]
    base: dict[str, Any]
    cells: dict[str, Any]
    fixed_rows: list[str]
    rows: dict[str, dict[str, Any]]


def read_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        UsageError: there is none, or it has not the keys of :class:`Study`.
    """
    if not path.is_file():
        known = [file.stem for file in STUDIES.glob("*.yaml")]
        raise UsageError(f"{path}: no such study. {nearest(path.stem, known)}")
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or set(content) != _KEYS:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"{path}: found {found}; expected the keys {sorted(_KEYS)}.")
    return Study(name=path.stem, **content)


def study(arguments: list[str]) -> Path:
    """Run what is missing of a study and write its table; returns the table's path.

    Raises:
        UsageError: the study or an option is not as expected.
        DataError: bad input files.
    """
    parser = argparse.ArgumentParser("python -m experiments study", description=__doc__, allow_abbrev=False)
    parser.add_argument("study", help="a name in experiments/studies, or a file")
    parser.add_argument("--source", default="", help="labelled photos")
    parser.add_argument("--target", default="", help="stylised faces")
    parser.add_argument("--out", default="", help="folder of cells and table (default: runs/studies/NAME)")
    parser.add_argument("--part", default="1/1", help="k/n: of every n cells, run the k-th")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--pointing", default="", help="train nothing; see whether terms point to this figure's labels")
    options = parser.parse_args(arguments)
    path = Path(options.study)
    chosen = read_study(path if path.suffix else STUDIES / f"{path}.yaml")
    out = Path(options.out or f"runs/studies/{chosen.name}")
    k, n = part(options.part)
    for name in options.rows or ():
        if name not in chosen.rows:
            raise UsageError(f"{name!r} is no row of {chosen.name}. {nearest(name, chosen.rows)}")
    wanted = [
        (row, value, seed)
        for seed in chosen.seeds
        for row in options.rows or chosen.rows
        for value in (chosen.values[:1] if row in chosen.fixed_rows else chosen.values)
    ]
    runner = _Runner(chosen, ["--source", options.source, "--target", options.target], out)
    if options.pointing:
        found = {row: runner.point(row, options.pointing) for row in options.rows or chosen.rows}
        return _write(out / "pointing.md", pointing_table(found))
    for row, value, seed in wanted[k - 1 :: n]:
        runner.run(row, value, seed)
    return _write(out / "table.md", study_table(chosen.rows, chosen.values, read_cells(out)))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    log.info("wrote %s", path)
    return path


def part(text: str) -> tuple[int, int]:
    """Read ``k/n``: of every n pieces of work, the k-th.

    Raises:
        UsageError: it is not that.
    """
    try:
        k, n = (int(number) for number in text.split("/"))
    except ValueError:
        k, n = 0, 0
    if not 1 <= k <= n:
        raise UsageError(f"--part is {text!r}; expected k/n with 1 ≤ k ≤ n, e.g. 1/2.")
    return k, n


def read_cells(out: Path) -> list[Cell]:
    """The cells that are done, from their files."""
    return [Cell(**json.loads(file.read_text())) for file in sorted((out / "cells").glob("*.json"))]


class _Runner:
    """Runs cells one after the other; data and start are made once a seed."""

    def __init__(self, chosen: Study, folders: list[str], out: Path) -> None:
        self.study, self.out = chosen, out
        names = [f"--{kind}={name}" for kind, name in chosen.names.items()]
        self.names = [*names, *(folders if chosen.names.get("setting") == "own" else [])]
        self.seeds: dict[int, tuple[SettingDataModule, Path, dict[str, float]]] = {}

    def run(self, row: str, value: float, seed: int) -> None:
        """Run a cell and write its file, unless it is there."""
        name = f"{row}-{value:g}-seed{seed}"
        path = self.out / "cells" / f"{name}.json"
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        cli = self._cli(row, value, seed)
        data, start, before = self._prepare(cli, seed)
        load_weights(cli.method.landmarker, read_checkpoint(start), start)
        scores = _Scores()
        cli.trainer.callbacks.append(scores)  # type: ignore[attr-defined]  # Lightning sets it by a connector
        began = time.perf_counter()
        cli.trainer.fit(cli.method, datamodule=data)
        cell = Cell(row, value, seed, {"start": before, **scores.by_phase}, scores.folded, time.perf_counter() - began)
        path.write_text(json.dumps(cell.__dict__, indent=1) + "\n")
        shown = "; ".join(f"{phase} {figures}" for phase, figures in cell.nme.items())
        log.info("%s: %s", name, shown)

    def point(self, row: str, figure: str) -> Pointing:
        """What a row's image term says of a labelled test set at the first seed's start, with no step taken."""
        seed = self.study.seeds[0]
        cli = self._cli(row, self.study.values[0], seed)
        data, start, _ = self._prepare(cli, seed)
        load_weights(cli.method.landmarker, read_checkpoint(start), start)
        faces = next((test.faces for test in data.test_sets if figure in test.subset_names), None)
        if faces is None:
            known = [name for test in data.test_sets for name in test.subset_names]
            raise UsageError(f"{figure!r} is no figure of this setting. {nearest(figure, known)}")
        stylised, photos = (crops(some, cli.method.image_size) for some in (faces, data.source_faces))
        cli.method.eval()
        with torch.no_grad():
            predicted = cli.method(stylised.images)
        found = pointing(cast(Any, cli.method).warper, photos, stylised, predicted, min(8, len(photos)))
        log.info("%s: %s", row, found)
        return found

    def _cli(self, row: str, value: float, seed: int) -> WarpmarkCLI:
        layers = [self.study.base, self.study.cells, {"model": {"init_args": self.study.rows[row]}}]
        return self._compose(seed, layers, f"--{self.study.option}={value}")

    def _compose(self, seed: int, layers: list[dict[str, Any]], *options: str) -> WarpmarkCLI:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{place}.yaml" for place in range(len(layers))]
            for file, layer in zip(files, layers, strict=True):
                file.write_text(yaml.safe_dump(layer))
            named, _ = parse([*self.names, "--seed", str(seed)])
            return WarpmarkCLI([*compose(named), *(f"--config={file}" for file in files), *options], run=False)

    def _prepare(self, cli: WarpmarkCLI, seed: int) -> tuple[SettingDataModule, Path, dict[str, float]]:
        if seed not in self.seeds:
            # The start is the one that `make train` makes and uses, whatever the study's own batches are.
            plain = self._compose(seed, [self.study.base])
            start = provide_pretrained(
                plain.method,
                plain.data,
                plain.options.pretraining,
                Path(plain.options.paths.runs),
                seed,
                plain.landmarker_config,
                plain.trainer_config,
            )
            if start is None:
                raise UsageError(f"METHOD={plain.options.run.method} has no start; a study needs a method that adapts.")
            scores = score(plain.method.landmarker, plain.data.test_sets, plain.data.eval_batch_size)
            self.seeds[seed] = cli.data, start, _nme(scores.figures)
        return self.seeds[seed]


class _Scores(Callback):
    """Notes the NME of every figure after each phase, and how much of the last warps folded."""

    def __init__(self) -> None:
        self.by_phase: dict[str, dict[str, float]] = {}
        self.folded = float("nan")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        method: Any = pl_module
        self.by_phase[method.phase] = _nme(method.scores)
        if method.phase == "warper":
            self.folded = float(trainer.callback_metrics.get("train/folded", float("nan")))


def crops(faces: FaceSet, size: int, count: int = 400) -> FaceBatch:
    """Plain crops of a face set, of at most ``count`` faces spread evenly over it."""
    chosen = range(0, len(faces), max(1, len(faces) // count))[:count]
    transform = FaceTransform(size)
    return collate([transform(faces[i], i) for i in chosen])


def _nme(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: round(values["nme"], 4) for name, values in figures.items()}
