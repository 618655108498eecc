"""Where commands write: that it can be written, and that an earlier run's results are not lost."""

import logging
import tempfile
from collections.abc import Collection
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
        _require_writable(folder)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror or error}). Runs are written under `paths.runs`; give one "
            "that you may write to, e.g. ARGS=--paths.runs=DIR."
        ) from error


def output_file(name: str, suffixes: Collection[str] = (), inputs: Collection[str] = ()) -> Path:
    """The file that a command is to write, found writable before any work is done; its folder is made.

    Args:
        name: as the user gave it (``OUT=``).
        suffixes: those that it may have, with the dot; any if empty.
        inputs: files that the command reads and must not overwrite.

    Raises:
        UsageError: the message says what is wrong with it.
    """
    out = Path(name).expanduser()
    if suffixes and out.suffix.lower() not in suffixes:
        found = f"the suffix {out.suffix!r}" if out.suffix else "no suffix"
        raise UsageError(f"{out}: found {found}, expected one of {', '.join(suffixes)}. Give another OUT.")
    if out.resolve() in [Path(path).expanduser().resolve() for path in inputs]:
        raise UsageError(f"{out}: is a file to read, and would be overwritten. Give another OUT.")
    if out.is_dir():
        raise UsageError(f"{out}: found a folder, expected a file's name. Give another OUT.")
    try:
        _require_writable(out.parent)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Give another OUT.") from error
    return out


def _require_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _free_name(folder: Path) -> Path:
    number = 1
    while (kept := folder.with_name(f"{folder.name}-earlier{number}")).exists():
        number += 1
    return kept
