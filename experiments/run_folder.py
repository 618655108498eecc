"""The folder of a run: that it can be written, and that an earlier run's results are not lost."""

import logging
import tempfile
from pathlib import Path

from experiments.errors import UsageError

log = logging.getLogger(__name__)


def prepare_run_folder(folder: Path, resume: bool) -> None:
    """Make a run's folder; an earlier run there is kept under another name unless it is to be resumed.

    Of a distributed run the first process does it: the others find the folder made.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        if not resume and folder.is_dir() and any(folder.iterdir()):
            kept = _free_name(folder)
            folder.rename(kept)
            log.warning("kept the earlier run in %s as %s (RESUME=1 goes on with it instead)", folder, kept)
        require_writable(folder)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror or error}). Runs are written under `paths.runs`; give one "
            "that you may write to, e.g. ARGS=--paths.runs=DIR."
        ) from error


def require_writable(folder: Path) -> None:
    """Make a folder if there is none, and try to write to it.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _free_name(folder: Path) -> Path:
    number = 1
    while (kept := folder.with_name(f"{folder.name}-earlier{number}")).exists():
        number += 1
    return kept
