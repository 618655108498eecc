"""Where each row's landmarker errs, as ``warpmark analyse`` shows it."""

from collections.abc import Sequence
from typing import Any

from experiments.analysis.measured import measure
from experiments.analysis.parts import TABLE_HEAD, table_rows
from experiments.analysis.report import write_errors
from experiments.grids.cells import Runner
from experiments.grids.figures.landmarkers import is_synthetic, picture_file, sets_of, shown
from experiments.grids.results import Result
from experiments.grids.tables import Table
from experiments.scoring import Protocol


def draw(
    runner: Runner, results: Sequence[Result], subsets: Sequence[str] = (), worst: int = 12, picture: str = "png"
) -> None:
    """Write error curves, NME of the parts of the face and the worst faces, of the start and of each row.

    They lie in the folder ``errors`` of the grid's; see :func:`experiments.analysis.report.write_errors`.

    Args:
        runner: of the grid.
        results: of its finished cells; of each row the first seed is shown.
        subsets: of the test sets; by default all.
        worst: how many of the worst faces are shown of each subset; 0 for none.
        picture: suffix of the pictures, without the dot.

    Raises:
        UsageError: an unknown subset, or a cell has kept no checkpoint.
    """
    folder = picture_file(runner, f"errors/parts.{picture}").parent
    protocol = Protocol()
    sets: dict[str, Any] = {}
    measured = []
    for one in shown(runner, results):
        setting = one.result.metrics["setting"]
        sets.setdefault(setting, sets_of(runner, one.cell, subsets))
        tests, device = sets[setting]
        measured.append(measure(one.name, one.load(), tests, protocol, device))
    drawn = is_synthetic(results)
    scores = write_errors(measured, folder, worst, picture, drawn)
    said = f"{'SYNTHETIC faces: not results. ' if drawn else ''}{runner.grid.name}, first seed, {protocol}; errors in %"
    title = f"{said} of the inter-ocular distance (95 % bootstrap interval over faces)"
    Table(title, TABLE_HEAD, table_rows(scores)).show(folder / "table")
