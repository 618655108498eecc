"""Random runs that are stopped at random moments and gone on with: do they end as if they never had been?"""

import logging
import sys
import tempfile
from pathlib import Path

from experiments.bench.soak.soak import soak
from experiments.run.folder import output_file

log = logging.getLogger(__name__)


def bench_soak(runs: int = 200, seed: int = 0, seconds: float = 7200.0, out: str = "") -> None:
    """Kill short random runs (SIGKILL, SIGTERM, a full disk) and go on with them: each must end as if it never stopped.

    Args:
        runs: how many; each is stopped one to five times
        seed: of methods, landmarkers and moments
        seconds: no run is begun after these
        out: where to keep what runs that failed leave (default: nothing is kept)

    Examples:
        warpmark bench-soak --runs 20 --seed 3
    """
    with tempfile.TemporaryDirectory(prefix="warpmark-soak-") as scratch:
        folder = output_file(f"{out}/soak").parent if out else Path(scratch)
        figures = soak(folder, runs, seed, seconds)
    print(figures)
    for line in figures.failed:
        print(line, file=sys.stderr)
    if figures.failed:
        sys.exit(1)
