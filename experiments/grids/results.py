"""What the cells of a grid left, and the grid's table of it."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from callbacks.nme_table import read_rows
from experiments.bench.cost import LandmarkerCost
from experiments.errors import UsageError
from experiments.grids.grid import Cell, Grid
from experiments.grids.tables import Entry, Stat, Table

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


def grid_table(grid: Grid, results: Sequence[Result], costs: Mapping[str, LandmarkerCost] | None = None) -> Table:
    """A line for each row and value: NME as mean ± standard deviation over seeds, and what training took.

    Args:
        grid: its rows are shown in their order; a row or seed without a result is shown as missing.
        results: of cells that are done.
        costs: by row, what its landmarker costs; its columns are left out without.
    """
    first = next(iter(results), None)
    subsets = list(first.metrics["test"]) if first else []
    phases = list(first.nme) if first and grid.phases else [""]
    columns = [(subset, phase) for phase in phases for subset in subsets]
    head = ["", *([grid.option.rsplit(".", 1)[-1]] if grid.option else [])]
    head += [f"{subset}{', ' if phase else ''}{phase}, NME %" for subset, phase in columns]
    head += [*grid.logged, "steps", "CPU s / epoch", "peak MiB"]
    head += ["M parameters", "GFLOPs", "images / s, batch 16", "batch 1"] if costs else []
    lines: list[list[Entry]] = []

    def add(name: str, value: float | None, entries: Sequence[Entry], seeds: int) -> None:
        named = [name, *([f"{value:g}" if value is not None else ""] if grid.option else []), *entries]
        lines.append([*named, *[None] * (len(head) - len(named)), f"{seeds} of {len(grid.seeds)}"])

    if starts := {r.cell.seed: r.metrics["source_only"] for r in results if r.metrics.get("source_only")}:
        found = [Stat.of([start["test"][subset]["nme"] for start in starts.values()]) for subset, _ in columns]
        add(START, None, found, len(starts))
    for row in grid.rows:
        of_row = [result for result in results if result.cell.row == row]
        values = grid.values_of(row)
        for value in [_best(of_row, values, subsets)] if grid.show == "best" and of_row else values:
            done = [result for result in of_row if result.cell.value == value]
            add(row, value, _entries(grid, done, columns, (costs or {}).get(row)), len(done))
    drawn = "SYNTHETIC faces: not results. " if first and first.metrics["data"] == "synthetic" else ""
    return Table(f"{drawn}{grid.name}", [*head, "seeds"], lines)


def _entries(
    grid: Grid, found: Sequence[Result], columns: Sequence[tuple[str, str]], cost: LandmarkerCost | None
) -> list[Entry]:
    if not found:
        return []
    entries: list[Entry] = [Stat.of([result.nme_after(*column) for result in found]) for column in columns]
    entries += [Stat.of([r.logged[title] for r in found if title in r.logged]) for title in grid.logged]
    spent = [result.cost for result in found if result.cost]
    seconds = [cost["cpu_seconds"] / max(1, cost["epochs"]) for cost in spent]
    most = [max(cost["peak_memory_mib"] for cost in spent)] if spent else []
    entries += [Stat.of(values, "0f") for values in ([cost["steps"] for cost in spent], seconds, most)]
    if cost:
        entries += [f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}"]
        entries += [f"{cost.images_per_second[16]:.0f}", f"{cost.images_per_second[1]:.0f}"]
    return entries


def _best(results: Sequence[Result], values: Sequence[float | None], subsets: Sequence[str]) -> float | None:
    """The value that does best on the first subset, on average over seeds."""
    by_value = {value: [r.nme_after(subsets[0], "") for r in results if r.cell.value == value] for value in values}
    done = {value: statistics.fmean(nme) for value, nme in by_value.items() if nme}
    return min(done, key=lambda value: done[value])
