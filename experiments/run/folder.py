"""Where commands write: that it can be written, and that an earlier run's results are not lost."""

import errno
import logging
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from experiments.errors import NO_FOLDER, UsageError

log = logging.getLogger(__name__)

LOCK: Final = ".lock"
"""In a run's folder, while it runs and after: which run holds the folder."""
_WRITTEN: Final = ("metrics.json", "nme.csv", "cost.json", "checkpoints", "csv", "target_boxes.csv")
"""What runs write, sooner or later, beside their configuration."""

_LEAST_FREE: Final = 32 * 2**20
"""Bytes below which no training is begun that could not write what it learned."""
_SUFFIXES: Final = (".json", ".md", ".csv", ".tex", ".txt", ".yaml", ".yml")
"""Suffixes of outputs, in place of which that of a further output stands."""


class RunFolder:
    """A run's folder, which one run at a time holds: two would mix the weights of one with the scores of the other.

    Args:
        path: of the folder, made when it is taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    def take(self, resume: bool) -> None:
        """Make the folder, and hold it until :meth:`release` or the end of this process.

        An earlier run there is kept under another name unless it is to be resumed. Of a distributed run the first
        process does it: the others find the folder made.

        Raises:
            UsageError: another run holds it, it holds what is no run's, or it cannot be written.
        """
        earlier = None
        try:
            if found := _entries(self.path):
                self._require_a_run(found)
                earlier = None if resume else self._move_aside()
            _require_writable(self.path)
            _require_space(self.path)
            self._lock = _held(self.path)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be written ({error.strerror or error}). Runs are written under `paths.runs`; "
                "give one that you may write to, e.g. ARGS=--paths.runs=DIR."
            ) from error
        finally:
            # Not before the new folder is held: who waited for the old one would move the new one aside.
            if earlier is not None:
                earlier.release()

    def release(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.release()

    def _require_a_run(self, found: Sequence[str]) -> None:
        if is_run_folder(self.path):
            return
        raise UsageError(
            f"{self.path}: found {_some(found)}, which no run wrote, and which stay as they are; expected a folder of "
            f"the run's own. Give a new or an empty one, e.g. --trainer.default_root_dir={self.path / 'run1'}, or "
            "leave that option out and give --paths.runs."
        )

    def _move_aside(self) -> FileLock:
        """Give an earlier run another name; returns its lock, held."""
        if Path.cwd().is_relative_to(self.path.resolve()):
            raise UsageError(
                f"{self.path}: is the folder that you work in, and holds an earlier run, which would be moved aside. "
                "Start from another folder, or give RESUME=1 to go on with that run."
            )
        earlier = _held(self.path)
        try:
            kept = _free_name(self.path)
            self.path.rename(kept)
        except BaseException:
            earlier.release()
            raise
        log.warning("kept the earlier run in %s as %s (RESUME=1 goes on with it instead)", self.path, kept)
        return earlier


def is_run_folder(folder: Path) -> bool:
    """Whether a run of ours was begun in a folder: by what each writes, not by the folder's name."""
    marks = [(folder / name).exists() for name in (LOCK, "config.yaml")]
    return all(marks) or (any(marks) and any((folder / name).exists() for name in _WRITTEN))


def require_named(folder: object, runs: str) -> None:
    """Refuse a run's folder whose name is not what was meant.

    Args:
        folder: ``trainer.default_root_dir``.
        runs: ``paths.runs``.

    Raises:
        UsageError: there is none, or one that only a shell would understand.
    """
    if folder is None:
        raise UsageError(NO_FOLDER)
    if not runs:
        raise UsageError("--paths.runs is empty; expected the folder under which runs are written. Leave it out.")
    if str(folder).startswith("~"):
        raise UsageError(f"{folder}: only a shell knows ~. Write the folder in full in paths.runs.")


def require_own_places(trainer: Any) -> None:
    """Refuse to write weights or logs of a run into the folder of another.

    Configurations of earlier versions name these folders in full, whatever folder the run is given.

    Args:
        trainer: Lightning's.

    Raises:
        UsageError: it names the place.
    """
    root = Path(trainer.default_root_dir).resolve()
    places = [("trainer.callbacks", getattr(callback, "dirpath", None)) for callback in trainer.checkpoint_callbacks]
    places += [("trainer.logger", logger.save_dir) for logger in trainer.loggers]
    for option, place in places:
        folder = Path(place or root).resolve()
        if not folder.is_relative_to(root) and any(is_run_folder(one) for one in (folder, folder.parent)):
            raise UsageError(
                f"{option}: would write into {place}, the folder of another run; expected a place within "
                f"trainer.default_root_dir, {trainer.default_root_dir}. Write ${{trainer.default_root_dir}} in its "
                "place in the configuration, or give the run that folder."
            )


def _held(folder: Path) -> FileLock:
    """The lock of a folder that is there."""
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{folder}: another run is at work in it. Wait for it to end, or give this one another SEED, or another "
            "place by --paths.runs."
        ) from error
    return lock


def _entries(folder: Path) -> list[str]:
    """What a folder holds but for a lock, which a run leaves that was stopped before it wrote anything."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


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


def beside(file: Path, ending: str) -> Path:
    """A further output beside an output file: ``run.json`` and ``.faces.csv`` make ``run.faces.csv``.

    What follows a dot in a name without a usual suffix is a part of it: ``run1.5`` is not ``run1.6``.
    """
    stem = file.stem if file.suffix.lower() in _SUFFIXES else file.name
    return file.with_name(stem + ending)


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        raise OSError(errno.ENOSPC, f"{free / 2**20:.0f} MiB are free, and a checkpoint alone may take more")


def _require_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _free_name(folder: Path) -> Path:
    folder, number = folder.resolve(), 1
    while (kept := folder.with_name(f"{folder.name}-earlier{number}")).exists():
        number += 1
    return kept
