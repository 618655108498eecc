"""NME over the epochs of a grid's cells, as ``warpmark curves`` draws it (the paper's Figure 7)."""

import logging
from collections.abc import Sequence

from experiments.analysis.epochs import draw_curves, read_run
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.figures.landmarkers import picture_file
from experiments.grids.results import Result

log = logging.getLogger(__name__)


def draw(runner: Runner, results: Sequence[Result], subsets: Sequence[str] = (), file: str = "") -> None:
    """Draw a line for each finished cell, a panel for each subset; warper phases are shaded.

    Args:
        runner: of the grid.
        results: of its finished cells.
        subsets: to draw; by default all.
        file: the picture's name in the grid's folder; by default ``GRID.png``.

    Raises:
        UsageError: an unknown subset, or a cell has logged no scores.
    """
    picture = picture_file(runner, file)
    runs = [read_run(runner.out / result.cell.name) for result in results]
    known = list(dict.fromkeys(subset for run in runs for subset in run.nme))
    for subset in subsets:
        if subset not in known:
            raise UsageError(f"{runner.grid.name}: its figure asks for the subset {subset!r}. {nearest(subset, known)}")
    several = len({result.cell.seed for result in results}) > 1
    names = [f"{one.cell.row}, seed {one.cell.seed}" if several else one.cell.row for one in results]
    draw_curves(runs, names, subsets or known).savefig(picture)
    log.info("wrote %s", picture)
