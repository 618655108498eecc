"""The interface of all that is written, and the names under which it is."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prediction.pictures import PictureFaces


@dataclass(frozen=True)
class Record:
    """A picture's faces and the names that they are written under.

    Attributes:
        result: what was found.
        names: of its faces, one each, unlike any other's: ``portrait``, or ``group_1``, ``group_2``; without a suffix.
    """

    result: PictureFaces
    names: Sequence[str]

    @property
    def name(self) -> str:
        """The picture's own name among the outputs."""
        return self.result.path.name


class Output(Protocol):
    """Writes one kind of file."""

    def add(self, record: Record) -> None:
        """Take the next picture; what is a file of its own is written at once."""

    def close(self) -> None:
        """Write what is one file for all pictures; after some of them, if prediction was stopped."""


class Names:
    """Names for faces, each once, whatever the pictures are called.

    Args:
        paths: all pictures. Those that differ by their suffix only keep it in their faces' names.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        stems = Counter(path.stem for path in paths)
        self._taken: set[str] = set()
        whole = {path: path.name.replace(".", "_") if stems[path.stem] > 1 else path.stem for path in paths}
        self._own = {path: self._free(name) for path, name in whole.items()}

    def of(self, path: Path, faces: int) -> list[str]:
        """The names of a picture's faces: the picture's own, or numbered from 1 if there are several."""
        own = self._own[path]
        return [own] if faces == 1 else [self._free(f"{own}_{number}") for number in range(1, faces + 1)]

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def describe(result: PictureFaces, names: Names) -> Record:
    """A result with its faces' names."""
    return Record(result, names.of(result.path, len(result.faces)))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there whole or not at all.

    Args:
        path: the file.
        write: writes to another name in the same folder, which has the same suffix.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        # What the umask says, not the private mode of a temporary file.
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
