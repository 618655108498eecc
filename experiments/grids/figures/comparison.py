"""The same faces as each row's landmarker finds them (the paper's Figures 5 and 6)."""

import logging
from collections.abc import Sequence

import numpy as np

from datamodules.loading import TestSet
from experiments.analysis.face_pictures import Line, draw_comparison, save
from experiments.analysis.measured import Array, Measured, measure
from experiments.grids.cells import Runner
from experiments.grids.figures.landmarkers import is_synthetic, picture_file, sets_of, shown
from experiments.grids.results import Result
from experiments.scoring import Protocol

log = logging.getLogger(__name__)


def draw(runner: Runner, results: Sequence[Result], subset: str, faces: int = 6, seed: int = 0, file: str = "") -> None:
    """Draw ground truth, the start and each row, a line each; the columns are faces from easy to hard.

    Faces are chosen by :func:`spread_by_error` from the start's errors (the first row's, where there is no start), so
    that no method's success takes part in the choice.

    Args:
        runner: of the grid.
        results: of its finished cells; of each row the first seed is shown.
        subset: whose faces.
        faces: how many.
        seed: of the choice.
        file: the picture's name in the grid's folder; by default ``GRID.png``.

    Raises:
        UsageError: an unknown subset, or a cell has kept no checkpoint.
    """
    picture = picture_file(runner, file)
    first, *others = shown(runner, results)
    tests, device = sets_of(runner, first.cell, [subset])
    protocol = Protocol()
    everything = measure(first.name, first.load(), tests, protocol, device)
    places = spread_by_error(everything.nme, faces, seed)
    chosen = everything.at(places)
    test = TestSet(chosen.faces, list(chosen.subsets))
    found = [chosen, *(measure(one.name, one.load(), [test], protocol, device) for one in others)]
    means = [one.nme[subset] for one in (first, *others)]
    lines = [_line(one, mean) for one, mean in zip(found, means, strict=True)]
    caption = (
        f"{subset}: of its {len(everything.paths)} faces, sorted by the NME of {first.name} and cut into "
        f"{len(places)} equal parts, one of each part, drawn by seed {seed}; easy to hard.\n"
        f"White: the face's NME in %; on the left: the whole subset's. {str(protocol).capitalize()}; training seed "
        f"{', '.join(dict.fromkeys(str(one.cell.seed) for one in (first, *others)))}."
    )
    save(draw_comparison(list(chosen.faces), lines, caption, is_synthetic(results)), picture)
    log.info("wrote %s", picture)


def _line(measured: Measured, mean: float) -> Line:
    return Line(f"{measured.landmarker}\n{mean:.2f}", measured.found, measured.nme)


def spread_by_error(nme: Array, count: int, seed: int = 0) -> list[int]:
    """One face at random out of each of ``count`` equal parts of the faces sorted by error, from easy to hard.

    Args:
        nme: each face's, shape ``(N,)``.
        count: of parts; N where there are fewer faces.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    parts = np.array_split(np.argsort(nme, kind="stable"), min(count, len(nme)))
    return [int(generator.choice(part)) for part in parts]
