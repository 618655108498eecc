"""Everything that is written about the errors of landmarkers."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.analysis.error_pictures import draw_error_curves, draw_part_bars
from experiments.analysis.face_pictures import draw_worst, save
from experiments.analysis.measured import Measured
from experiments.analysis.parts import PartScores, part_scores, write_faces, write_parts

log = logging.getLogger(__name__)


def write_errors(
    measured: Sequence[Measured], folder: Path, worst: int = 12, picture: str = "png", synthetic: bool = False
) -> list[PartScores]:
    """Write where landmarkers err, into a folder that exists.

    ``error_curves`` (cumulative) and ``parts`` (bars) are pictures of all landmarkers; ``worst-LANDMARKER-SUBSET``, of
    one each, shows faces. ``parts.csv`` has the bars' numbers, ``faces.csv`` those of each face.

    Args:
        measured: one or more landmarkers, of different names.
        folder: to write into.
        worst: how many of the worst faces are shown of each subset; 0 for none.
        picture: suffix of the pictures, without the dot.
        synthetic: mark the pictures as those of drawn faces.

    Returns:
        What ``parts.csv`` holds.
    """
    write_faces(measured, folder / "faces.csv")
    scores = part_scores(measured)
    write_parts(scores, folder / "parts.csv")
    draw_error_curves(measured, synthetic).savefig(folder / f"error_curves.{picture}")
    draw_part_bars(scores, synthetic).savefig(folder / f"parts.{picture}")
    for one in measured if worst else ():
        for subset in one.scores:
            name = re.sub(r"\W+", "_", one.landmarker).strip("_")
            save(draw_worst(one, subset, worst, synthetic), folder / f"worst-{name}-{subset}.{picture}")
    log.info("wrote error_curves, parts, worst (.%s), faces.csv and parts.csv in %s", picture, folder)
    return scores
