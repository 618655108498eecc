"""The table of a comparison, from what its runs left."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparison import Cell, Comparison, cells
from experiments.landmarker_cost import LandmarkerCost

START = "source only (the start)"


@dataclass(frozen=True)
class Result:
    """What a run left: ``metrics.json``, and ``cost.json`` where there is one."""

    cell: Cell
    metrics: dict[str, Any]
    cost: dict[str, float]

    def nme(self, figure: str) -> float:
        """In %."""
        return float(self.metrics["test"][figure]["nme"])


def read_results(chosen: Comparison, out: Path) -> list[Result]:
    """The runs that are done, of all rows and of whatever seeds there are."""
    found = []
    seeds = sorted({int(folder.name.rsplit("seed", 1)[1]) for folder in out.glob("*-seed*") if folder.is_dir()})
    for cell in cells(chosen, list(chosen.rows), seeds):
        folder = out / cell.name
        if (folder / "metrics.json").exists():
            cost = folder / "cost.json"
            spent = json.loads(cost.read_text()) if cost.exists() else {}
            found.append(Result(cell, json.loads((folder / "metrics.json").read_text()), spent))
    return found


def comparison_table(chosen: Comparison, results: Sequence[Result], costs: Mapping[str, LandmarkerCost]) -> str:
    """A line for each row: figures as mean over seeds (each seed in brackets), and what training took."""
    if not results:
        return "no run is done yet\n"
    figures = list(results[0].metrics["test"])
    head = ["", *([chosen.option.rsplit(".", 1)[-1]] if chosen.option else []), *(f"{f} NME %" for f in figures)]
    head += ["steps", "s / epoch", "peak MiB"]
    head += ["parameters / M", "GFLOPs", "images / s, batch 16", "batch 1"] if costs else []
    lines = [_line(head), _line(["---"] * len(head))]
    if starts := {r.cell.seed: r.metrics["source_only"] for r in results if r.metrics.get("source_only")}:
        shown = [_over_seeds([start["test"][f]["nme"] for _, start in sorted(starts.items())]) for f in figures]
        lines.append(_line([START, *([""] if chosen.option else []), *shown, *[""] * 3]))
    for row in chosen.rows:
        if best := _best_value([r for r in results if r.cell.row == row], figures[0]):
            lines.append(_line(_row(chosen, row, best, figures, costs)))
    return "\n".join(lines) + "\n"


def _best_value(results: list[Result], figure: str) -> list[Result]:
    """The runs at that value of the option which does best on the figure."""
    values = {r.cell.value for r in results}
    by_value = [[r for r in results if r.cell.value == value] for value in values]
    return min(by_value, key=lambda some: statistics.fmean(r.nme(figure) for r in some), default=[])


def _row(
    chosen: Comparison, row: str, results: list[Result], figures: list[str], costs: Mapping[str, LandmarkerCost]
) -> list[str]:
    shown = [row, *([f"{results[0].cell.value:g}"] if chosen.option else [])]
    shown += [_over_seeds([r.nme(f) for r in results]) for f in figures]
    spent = [r.cost for r in results if r.cost]
    if spent:
        shown += [f"{statistics.fmean(s['steps'] for s in spent):.0f}"]
        shown += [f"{statistics.fmean(s['cpu_seconds'] / max(1, s['epochs']) for s in spent):.0f}"]
        shown += [f"{max(s['peak_memory_mib'] for s in spent):.0f}"]
    else:
        shown += [""] * 3
    if cost := costs.get(row):
        shown += [f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}"]
        shown += [f"{cost.images_per_second[16]:.0f}", f"{cost.images_per_second[1]:.0f}"]
    return shown


def _over_seeds(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.2f}' for value in values)})"


def _line(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entries) + " |"
