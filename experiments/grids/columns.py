"""The columns of a grid's table: NME, and beside it what a paper printed; what training took."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from experiments.bench.cost import LandmarkerCost
from experiments.grids.grid import Grid
from experiments.grids.published import AVERAGE, PublishedRow, PublishedTable
from experiments.grids.results import Result
from experiments.grids.tables import Entry, Stat

UNKNOWN: Final = "?"
"""Shown for a published value that is not at hand."""
MISPRINT: Final = "*"


@dataclass(frozen=True)
class Line:
    """A line of the table: a row at a value of the option, and its results; the row's published one."""

    name: str
    value: float | None
    results: Sequence[Result]
    published: PublishedRow | None = None


@dataclass(frozen=True)
class Column:
    """A column of the table: its head, and its entry in a line."""

    head: str
    entry: Callable[[Line], Entry]


def subsets_of(results: Sequence[Result], table: PublishedTable | None) -> list[str]:
    """Those of the published table, then the others that were measured."""
    published = [name for name in table.columns if name != AVERAGE] if table else []
    return list(dict.fromkeys([*published, *(name for result in results for name in result.metrics["test"])]))


def measured(grid: Grid, lines: Sequence[Line], subsets: Sequence[str], table: PublishedTable | None) -> list[Column]:
    """NME of each subset, after each phase or at the end; where a column was published, what it says, right of it."""
    results = [result for line in lines for result in line.results]
    phases = list(results[0].nme) if results and grid.phases else [""]
    printed = table.columns if table else []
    columns = []
    for phase in phases:
        shown = {name: _nme_of(name, phase) for name in subsets if name in printed}
        if table and AVERAGE in printed and not phase:
            shown[AVERAGE] = _average_of(table.average_of)
        shown |= {name: _nme_of(name, phase) for name in subsets}
        for name, found in shown.items():
            columns.append(Column(f"{name}{', ' if phase else ''}{phase}, NME %", _stat(found)))
            columns += _beside(name, found, lines) if name in printed and not phase else []
    return columns


def _beside(column: str, found: Callable[[Result], float | None], lines: Sequence[Line]) -> list[Column]:
    """What was published of a column, and how far what was found is from it, where that is known of any line."""

    def printed(line: Line) -> Entry:
        if line.published is None:
            return ""
        value = line.published.values[column]
        if value is None:
            return UNKNOWN
        digits = max(2, len(str(value).partition(".")[2]))
        return f"{value:.{digits}f}{MISPRINT if column in line.published.misprint else ''}"

    def difference(line: Line) -> Entry:
        values = [value for result in line.results if (value := found(result)) is not None]
        published = line.published.values[column] if line.published else None
        known = published is not None and line.published is not None and column not in line.published.misprint
        if not values or not known or published is None or drawn(line.results):
            return None if line.published else ""
        return f"{statistics.fmean(values) - published:+.2f}"

    known = any(difference(line) for line in lines)
    return [Column(f"{column}, paper", printed), *([Column(f"{column}, difference", difference)] if known else [])]


def _nme_of(subset: str, phase: str) -> Callable[[Result], float | None]:
    def found(result: Result) -> float | None:
        return result.nme_after(subset, phase) if subset in result.metrics["test"] else None

    return found


def _average_of(subsets: Sequence[str]) -> Callable[[Result], float | None]:
    def found(result: Result) -> float | None:
        return result.average_over(subsets)

    return found


def _stat(found: Callable[[Result], float | None], digits: str = "2f") -> Callable[[Line], Entry]:
    def entry(line: Line) -> Entry:
        values = [value for result in line.results if (value := found(result)) is not None]
        return Stat.of(values, digits) if values else None

    return entry


def value_of(line: Line) -> Entry:
    """The option's value."""
    return "" if line.value is None else f"{line.value:g}"


def logged(title: str) -> Column:
    """A value that runs log."""
    return Column(title, _stat(lambda result: result.logged.get(title)))


def _most_memory(line: Line) -> Entry:
    held = [result.cost["peak_memory_mib"] for result in line.results if "peak_memory_mib" in result.cost]
    return Stat.of([max(held)], "0f") if held else None


def _seconds(result: Result) -> float | None:
    return result.cost["cpu_seconds"] / max(1, result.cost["epochs"]) if result.cost else None


SPENT: Final = (
    Column("steps", _stat(lambda result: result.cost.get("steps"), "0f")),
    Column("CPU s / epoch", _stat(_seconds, "0f")),
    Column("peak MiB", _most_memory),
)
"""What training took."""


def cost_columns(costs: Mapping[str, LandmarkerCost]) -> list[Column]:
    """What each row's landmarker costs."""

    def column(head: str, text: Callable[[LandmarkerCost], str]) -> Column:
        return Column(head, lambda line: text(costs[line.name]) if line.name in costs and line.results else None)

    return [
        column("M parameters", lambda cost: f"{cost.parameters / 1e6:.2f}"),
        column("GFLOPs", lambda cost: f"{cost.flops / 1e9:.2f}"),
        column("images / s, batch 16", lambda cost: f"{cost.images_per_second[16]:.0f}"),
        column("batch 1", lambda cost: f"{cost.images_per_second[1]:.0f}"),
    ]


def drawn(results: Iterable[Result]) -> bool:
    """Whether any was measured on drawn faces."""
    return any(result.metrics.get("data") == "synthetic" for result in results)
