"""What picture files hold, in a few letters, so that a picture that was painted over shows."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from datamodules.faces import FaceSet

NOTE: Final = "pictures.json"
"""The file under ``runs`` in which files are noted whose content is known."""

_Known = tuple[str, ...]
"""Size, times of change and digest of a file."""


@dataclass
class PictureContents:
    """Digests of files; a file is read where it is new, or its size or a time of it is not what it was.

    Attributes:
        note: where digests are kept from one command to the next; nowhere if None, or where it cannot be written.
    """

    note: Path | None = None
    _known: dict[str, _Known] = field(default_factory=dict, init=False, repr=False)
    _noted: dict[str, _Known] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            content = json.loads(self.note.read_text(encoding="utf-8")) if self.note else {}
            self._noted = {str(name): tuple(map(str, values)) for name, values in content.items()}
            self._known = dict(self._noted)

    def of(self, files: Sequence[Path]) -> str:
        """The files' content in their order, whatever their names; empty for no files."""
        if not files:
            return ""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            digests = list(pool.map(self._of_file, files))
        self._keep()
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]

    def _of_file(self, file: Path) -> str:
        name, about = os.fsencode(file.absolute()).decode("utf-8", "backslashreplace"), file.stat()
        # The time of the inode too: tools that keep a file's own time cannot set it.
        state = (str(about.st_size), str(about.st_mtime_ns), str(about.st_ctime_ns))
        *same, digest = self._known.get(name, ("", ""))
        if tuple(same) != state:
            digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
            self._known[name] = (*state, digest)
        return digest

    def _keep(self) -> None:
        if self.note is None or self._known == self._noted or not self.note.parent.is_dir():
            return
        unfinished = self.note.with_name(f"{self.note.name}.{os.getpid()}.unfinished")
        with contextlib.suppress(OSError):  # it only saves reading them again
            unfinished.write_text(json.dumps(self._known), encoding="utf-8")
            unfinished.replace(self.note)
            self._noted = dict(self._known)


def pictures_of(sets: Iterable[FaceSet | None]) -> list[Path]:
    """The picture files of face sets, one set after the other; drawn faces have none."""
    return [file for faces in sets if faces is not None for file in faces.files()]


def place_for(folder: Path, file: str, files: Sequence[Path], contents: str, other: Callable[[], Path]) -> Path:
    """The folder of what is made from pictures: the usual one, unless it is of what the pictures were before.

    Args:
        folder: the usual one; what it was made from is noted in it.
        file: what is there once it is made.
        files: the pictures.
        contents: theirs, see :meth:`PictureContents.of`.
        other: a folder for these contents alone.
    """
    if not contents:
        return folder
    note = folder / "pictures.txt"
    if not note.exists() and folder.exists() and not _is_older(files, folder, file):
        # Of an earlier version, which noted nothing: a picture may be another since.
        return other()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), note.open("x", encoding="utf-8") as written:
        written.write(contents)
    return folder if note.read_text(encoding="utf-8") == contents else other()


def _is_older(files: Sequence[Path], folder: Path, file: str) -> bool:
    """Whether all pictures were written before what was made from them, or its making began."""
    made = (folder / file if (folder / file).exists() else folder).stat().st_mtime_ns
    return all(picture.stat().st_mtime_ns <= made for picture in files)
