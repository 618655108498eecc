"""The landmarkers of a grid's finished cells, and what they are tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from callbacks.drawing import FORMATS
from datamodules.loading import TestSet
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.grid import Cell
from experiments.grids.results import START, Result
from experiments.run.folder import output_file
from lightning_modules.landmarkers.base import Landmarker


@dataclass(frozen=True)
class Shown:
    """A landmarker of a grid: of one of its rows, or the start.

    Attributes:
        name: the row's, with the option's value where the grid has one; or that of the start.
        checkpoint: its file.
        result: of the row's first seed that is done; for the start, of the first row that went on from it.
        nme: of each subset in %, as ``metrics.json`` has it.
    """

    name: str
    checkpoint: Path
    result: Result
    nme: dict[str, float]

    @property
    def cell(self) -> Cell:
        """The result's."""
        return self.result.cell

    def load(self) -> Landmarker:
        """The landmarker, in evaluation mode."""
        return load_landmarker(self.checkpoint)


def shown(runner: Runner, results: Sequence[Result]) -> list[Shown]:
    """The start, where there is one, and each row (and value of the grid's option) at its first seed.

    Raises:
        UsageError: a cell has kept no checkpoint.
    """
    found: dict[str, Shown] = {}
    for result in results:
        cell = result.cell
        name = cell.row if cell.value is None else f"{cell.row}, {cell.value:g}"
        found.setdefault(name, Shown(name, checkpoint_of(runner, cell), result, _nme(result.metrics)))
    in_order = [found[name] for name in sorted(found, key=lambda name: _place(runner, found[name]))]
    first = next((one.result for one in in_order if one.result.metrics.get("source_only")), None)
    start = runner.start_of(first.cell) if first else None
    if first is None or start is None:
        return in_order
    return [Shown(START, start, first, _nme(first.metrics["source_only"])), *in_order]


def _place(runner: Runner, one: Shown) -> tuple[int, float]:
    return list(runner.grid.rows).index(one.cell.row), one.cell.value or 0.0


def _nme(scores: Mapping[str, Any]) -> dict[str, float]:
    return {subset: values["nme"] for subset, values in scores["test"].items()}


def checkpoint_of(runner: Runner, cell: Cell) -> Path:
    """The last checkpoint of a finished cell.

    Raises:
        UsageError: it has kept none.
    """
    path = runner.out / cell.name / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise UsageError(f"{path}: no such file, and the figure needs it; run the cell with checkpoints.")
    return path


def sets_of(runner: Runner, cell: Cell, subsets: Sequence[str] = ()) -> tuple[list[TestSet], torch.device]:
    """The test sets of a cell, of all subsets or of some alone, and where its run computes.

    Raises:
        UsageError: the cell's setting has no such subset.
    """
    cli = runner.in_cell(cell)
    cli.data.setup("test")
    known = [name for test in cli.data.test_sets for name in test.subset_names]
    for subset in subsets:
        if subset not in known:
            raise UsageError(f"{runner.grid.name}: its figure asks for the subset {subset!r}. {nearest(subset, known)}")
    tests = [one for test in cli.data.test_sets if (one := test.only(subsets or known)).subsets]
    return tests, cli.trainer.strategy.root_device


def is_synthetic(results: Sequence[Result]) -> bool:
    """Whether the cells' faces are drawn."""
    return any(result.metrics["data"] == "synthetic" for result in results)


def picture_file(runner: Runner, name: str = "") -> Path:
    """A picture in the grid's folder; by default it has the grid's name.

    Raises:
        UsageError: its suffix is none of a picture.
    """
    return output_file(str(runner.out / (name or f"{runner.grid.name}.png")), FORMATS)
