"""``curves``: NME over the epochs of runs, the paper's Figure 7."""

import logging
from pathlib import Path

from callbacks.drawing import FORMATS
from experiments.analysis.epochs import distinct_names, draw_curves, read_run
from experiments.errors import UsageError, nearest
from experiments.run.folder import output_file

log = logging.getLogger(__name__)


def curves(
    runs: list[str], out: str = "curves.png", names: tuple[str, ...] = (), subsets: tuple[str, ...] = ()
) -> Path:
    """Draw NME over the epochs of finished or running runs, a panel for each subset: the paper's Figure 7.

    Args:
        runs: Folders of runs.
        out: The picture to write: .png, .pdf, .svg, .jpg, .tif or .webp.
        names: A name for each run; by default from its configuration.
        subsets: Test sets and subsets to draw; by default all.

    Returns:
        The picture's file.

    Raises:
        UsageError: A folder is no run's, a subset is not known, or the picture cannot be written.

    Examples:
        warpmark curves runs/own/stylize-integral/seed0 runs/own/stylize-integral/seed1 --out curves.png
    """
    if not runs:
        raise UsageError("no runs are given; give the folders of one or more, runs/SETTING/METHOD-LANDMARKER/seedN.")
    if names and len(names) != len(runs):
        raise UsageError(f"{len(names)} names for {len(runs)} runs; give one for each.")
    file = output_file(out, FORMATS)
    logged = [read_run(Path(folder)) for folder in runs]
    known = list(dict.fromkeys(subset for run in logged for subset in run.nme))
    for subset in subsets:
        if subset not in known:
            raise UsageError(f"{subset!r} is no subset of these runs. {nearest(subset, known)}")
    draw_curves(logged, names or distinct_names(logged), subsets or known).savefig(file)
    log.info("wrote %s", file)
    return file
