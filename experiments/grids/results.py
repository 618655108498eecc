"""What the cells of a grid left."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from callbacks.nme_table import read_rows
from experiments.errors import UsageError
from experiments.grids.grid import Cell, Grid

START: Final = "source only (the start)"


@dataclass(frozen=True)
class Result:
    """What a cell left.

    Attributes:
        cell: which.
        metrics: its ``metrics.json``.
        cost: its ``cost.json``; empty where there is none.
        nme: by phase and subset, in %, after the phase's last epoch.
        logged: by title, the grid's further columns; values that were not logged are left out.
    """

    cell: Cell
    metrics: Mapping[str, Any]
    cost: Mapping[str, float] = field(default_factory=dict)
    nme: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    logged: Mapping[str, float] = field(default_factory=dict)

    def nme_after(self, subset: str, phase: str) -> float:
        """NME in %, after a phase's last epoch, or tested after the run's last for an empty phase."""
        return float(self.nme[phase][subset] if phase else self.metrics["test"][subset]["nme"])

    def average_over(self, subsets: Sequence[str]) -> float | None:
        """Mean NME over all faces of some subsets, in %, which weights them by their numbers of faces.

        None where one of them was not tested: a mean over the others would be another figure under the same name.
        """
        found = [self.metrics["test"].get(name) for name in subsets]
        known = [(values["nme"], values["n"]) for values in found if values]
        if len(known) < len(subsets):
            return None
        return float(sum(nme * count for nme, count in known) / sum(count for _, count in known))


def read_results(grid: Grid, out: Path, cells: Sequence[Cell]) -> list[Result]:
    """The results of those cells that are done.

    Raises:
        UsageError: some were measured on drawn faces and some on files.
    """
    results = []
    for cell in cells:
        folder = out / cell.name
        if (folder / "metrics.json").exists():
            metrics, cost = (json.loads(_text(folder / name)) for name in ("metrics.json", "cost.json"))
            results.append(Result(cell, metrics, cost, _nme(folder), _logged(grid, folder)))
    kinds = {result.metrics["data"] for result in results}
    if len(kinds) > 1:
        drawn = [result.cell.name for result in results if result.metrics["data"] == "synthetic"]
        raise UsageError(
            f"{out}: {', '.join(drawn[:3])} and others are of SYNTHETIC faces, the rest of files; one table cannot "
            "hold both. Give another OUT for one of them."
        )
    return results


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else "{}"


def _nme(folder: Path) -> dict[str, dict[str, float]]:
    nme: dict[str, dict[str, float]] = {}
    for row in _rows(folder / "nme.csv"):
        nme.setdefault(row["phase"], {})[row["subset"]] = float(row["nme"])
    return nme


def _logged(grid: Grid, folder: Path) -> dict[str, float]:
    logs = sorted(folder.glob("csv/*/metrics.csv"))
    rows = [row for path in logs for row in _rows(path)]
    last = {title: [row[name] for row in rows if row.get(name)][-1:] for title, name in grid.logged.items()}
    return {title: float(value) for title, values in last.items() for value in values}


def _rows(path: Path) -> list[dict[str, str]]:
    return read_rows(path) if path.exists() else []
