"""The table of a grid: NME as mean ± standard deviation over seeds, and beside it what a paper printed."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from experiments.bench.cost import LandmarkerCost
from experiments.grids.columns import (
    MISPRINT,
    SPENT,
    UNKNOWN,
    Column,
    Line,
    cost_columns,
    drawn,
    logged,
    measured,
    subsets_of,
    value_of,
)
from experiments.grids.grid import Cell, Grid
from experiments.grids.published import AVERAGE, PublishedTable, read_published
from experiments.grids.results import START, Result
from experiments.grids.tables import Entry, Table

Scores = Mapping[str, Mapping[str, float]]
"""By subset, as in ``metrics.json``."""
_SAME_START: Final = 0.01
"""Between two measurements of one start's NME, in %: devices round differently."""


def grid_table(grid: Grid, results: Sequence[Result], costs: Mapping[str, LandmarkerCost] | None = None) -> Table:
    """A line for each row and value: NME as mean ± standard deviation over seeds, and what training took.

    A grid that names a published table has that table's values beside its own, and their difference where the faces are
    no drawn ones; then what training took is left out.

    Args:
        grid: its rows are shown in their order; a row or seed without a result is shown as missing.
        results: of cells that are done.
        costs: by row, what its landmarker costs; its columns are left out without.

    Raises:
        UsageError: the published table, or a row's in it, is not as expected.
    """
    table = read_published(grid.published) if grid.published else None
    lines = _lines(grid, results, table)
    subsets = subsets_of(results, table)
    columns = [Column("", lambda line: line.name)]
    if grid.option:
        columns.append(Column(grid.option.rsplit(".", 1)[-1], value_of))
    columns += measured(grid, lines, subsets, table)
    columns += [logged(title) for title in grid.logged]
    columns += [] if table else SPENT
    columns += cost_columns(costs) if costs else []
    columns.append(Column("seeds", lambda line: f"{len(line.results)} of {len(grid.seeds)}"))
    columns.append(Column("faces", lambda line: _faces(line, subsets, table)))
    profiles = _profiles(results)
    remarks = Column("remark", lambda line: _remark(line, table, len(profiles) > 1))
    columns += [remarks] if any(remarks.entry(line) for line in lines) else []
    synthetic = "SYNTHETIC faces: not results. " if drawn(results) else ""
    title = synthetic + grid.name + (f", profile {profiles[0]}" if len(profiles) == 1 else "")
    rows = [[column.entry(line) for column in columns] for line in lines]
    return Table(title, [column.head for column in columns], rows, _notes(lines, subsets, table))


def _lines(grid: Grid, results: Sequence[Result], table: PublishedTable | None) -> list[Line]:
    starts = _starts(results)
    lines = [Line(START, None, starts)] if starts else []
    first = list(results[0].metrics["test"]) if results else []
    for row, choices in grid.rows.items():
        named = choices.get("published")
        published = table.row(named) if table and named else None
        of_row = [result for result in results if result.cell.row == row]
        values = grid.values_of(row)
        for value in [_best(of_row, values, first)] if grid.show == "best" and of_row else values:
            lines.append(Line(row, value, [r for r in of_row if r.cell.value == value], published))
    return lines


def _starts(results: Sequence[Result]) -> list[Result]:
    """The scores of the start that all results went on from, one for each seed; none where they have several.

    Nor where a row shows it already, because it does not train.
    """
    by_seed: dict[int, Result] = {}
    for result in results:
        scores = result.metrics.get("source_only")
        if not scores:
            continue
        if not result.cost and _same(scores["test"], result.metrics["test"]):
            return []
        nme = {name: values["nme"] for name, values in scores["test"].items()}
        metrics = {**scores, **{name: result.metrics.get(name) for name in ("data", "setting")}}
        start = Result(Cell(START, None, result.cell.seed), metrics, nme=dict.fromkeys(result.nme, nme))
        if not _same(scores["test"], by_seed.setdefault(result.cell.seed, start).metrics["test"]):
            return []
    return list(by_seed.values())


def _same(a: Scores, b: Scores) -> bool:
    return a.keys() == b.keys() and all(math.isclose(a[name]["nme"], b[name]["nme"], abs_tol=_SAME_START) for name in a)


def _best(results: Sequence[Result], values: Sequence[float | None], subsets: Sequence[str]) -> float | None:
    """The value that does best on the first subset, on average over seeds."""
    by_value = {value: [r.nme_after(subsets[0], "") for r in results if r.cell.value == value] for value in values}
    done = {value: statistics.fmean(nme) for value, nme in by_value.items() if nme}
    return min(done, key=lambda value: done[value])


def _faces(line: Line, subsets: Sequence[str], table: PublishedTable | None) -> Entry:
    """How many faces each subset has: ``n``, or ``n/N`` of the published N."""
    counts = [_count(line.results, subset, table) for subset in subsets]
    return ", ".join(text or "0" for text in counts) if any(counts) else None


def _count(results: Sequence[Result], subset: str, table: PublishedTable | None) -> str:
    texts = []
    for result in results:
        count = result.metrics["test"].get(subset, {}).get("n")
        whole = table.faces.of(result.metrics.get("setting", ""), subset) if table else None
        partial = whole is not None and count != whole and not drawn([result])
        texts += [] if count is None else [f"{count}/{whole}" if partial else f"{count}"]
    return " or ".join(dict.fromkeys(texts))


def _remark(line: Line, table: PublishedTable | None, mixed: bool) -> Entry:
    if line.name == START:
        return ""
    remarks = ["not in the paper"] if table and not line.published else []
    if mixed and line.results:
        remarks.append(f"profile {' and '.join(_profiles(line.results)) or 'not known'}")
    return "; ".join(remarks)


def _notes(lines: Sequence[Line], subsets: Sequence[str], table: PublishedTable | None) -> list[str]:
    results = [result for line in lines for result in line.results]
    notes = [f"faces: of {', '.join(subsets)}, in this order."] if len(subsets) > 1 else []
    if table is None:
        return notes
    notes.append(f"paper: {table.citation} {table.caption} {UNKNOWN}: a value that is not at hand.")
    if any("/" in _count(line.results, subset, table) for line in lines for subset in subsets):
        notes.append("n/N: n of the N published test faces were there, so the NME is not that of the paper's faces.")
    missing = [name for name in table.average_of if any(name not in r.metrics["test"] for r in results)]
    if AVERAGE in table.columns and missing:
        notes.append(f"No average of the paper's kind: there is no {', '.join(missing)}.")
    if any(line.published and line.published.misprint for line in lines):
        notes.append(f"{MISPRINT} A misprint: it does not agree with the other values of its row.")
    return notes


def _profiles(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(r.metrics["profile"] for r in results if r.metrics.get("profile")))
