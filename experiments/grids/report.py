"""Everything a grid shows of its finished cells: tables, and a figure where its file asks for one."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from experiments.bench.cost import LandmarkerCost, landmarker_costs
from experiments.grids.cells import Runner
from experiments.grids.differences import compare
from experiments.grids.grid import Cell
from experiments.grids.overview import grid_table
from experiments.grids.results import Result


def write_report(runner: Runner, results: Sequence[Result], against: str = "") -> Path:
    """Print and write what a grid shows, into the runner's folder.

    Args:
        runner: of the grid.
        results: of its finished cells.
        against: a row that all others are compared with, face by face; empty for none.

    Returns:
        The grid's table in Markdown; of a grid without rows what its figure returns.

    Raises:
        UsageError: ``against`` is no finished row.
    """
    if not runner.grid.rows:
        return _draw(runner, results)
    cells = [result.cell for result in results]
    path = grid_table(runner.grid, results, _costs(runner, cells)).show(runner.out / "table")
    if against:
        comparison = compare(runner, cells, against)
        comparison.differences().show(runner.out / "differences")
        comparison.intervals().show(runner.out / "intervals")
        comparison.tests().show(runner.out / "tests")
    if runner.grid.figure:
        _draw(runner, results)
    return path


def _draw(runner: Runner, results: Sequence[Result]) -> Path:
    """Draw the grid's figure; returns what its module says that it wrote."""
    options = dict(runner.grid.figure)
    path: Path = import_module(f"experiments.grids.figures.{options.pop('draw')}").draw(runner, results, **options)
    return path


def _costs(runner: Runner, done: Sequence[Cell]) -> dict[str, LandmarkerCost]:
    """What each row's landmarker costs, where rows differ in it and no paper's values take its place."""
    if runner.grid.published or len({runner.grid.rows[cell.row].get("landmarker") for cell in done}) < 2:
        return {}
    one_of_each = {cell.row: cell for cell in done}
    return landmarker_costs({row: runner.plain(cell).method.landmarker for row, cell in one_of_each.items()})
