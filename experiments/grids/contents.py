"""What lies in the files that a cell is made of, in a few letters, so that a change of it shows."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import yaml

from datamodules.formats import IMAGE_SUFFIXES
from datamodules.setting import SYNTHETIC
from experiments.artifacts.pictures import PictureContents
from experiments.artifacts.store import key_of
from experiments.compose import Choices

_LABEL_SUFFIXES: Final = frozenset({".npy", ".pts", ".txt", ".csv"})
_SECTIONS: Final = ("data", "model", "pretraining", "translation")
"""Parts of a configuration that may name files to read; others name places to write to."""
CONFIGURATION: Final = "the YAML files of its choices"
_LEARNING: Final = ("datamodules", "lightning_modules")
"""Rooms whose code says what is learned."""
PICTURES: Final = "the pictures of"
"""Before the name of a folder, in the name of its images' fingerprint."""


@dataclass(frozen=True)
class Contents:
    """Fingerprints of folders and files, each looked at once: those of one command see one state of the data."""

    _seen: dict[str, str] = field(default_factory=dict)
    _pictures: PictureContents = field(default_factory=PictureContents)

    def of(self, choices: Choices) -> dict[str, str]:
        """Fingerprints of all that choices name: by path, and of the choices' own files as :data:`CONFIGURATION`.

        Of a folder there are two: of its labels and its images' sizes; and, as :data:`PICTURES`, of what these hold.
        Folders and files that do not exist are left out: what fails without them says so.
        """
        folders = (choices.data, choices.source, choices.target, choices.test)
        named = [folder for folder in folders if folder != SYNTHETIC]
        named += [text for layer in choices.config if isinstance(layer, Mapping) for text in _texts(layer)]
        found = {name: self._of_path(Path(name).expanduser()) for name in sorted(set(named)) if name}
        names = (choices.setting, choices.method, choices.landmarker, choices.profile, choices.ema, choices.wandb)
        files = self._seen_or(repr(names), lambda: key_of({"files": [_of_yaml(file) for file in choices.files()]}))
        # By themselves: notes of earlier versions hold their sizes alone.
        places = {name: Path(name).expanduser() for name, content in found.items() if content}
        pictures = {f"{PICTURES} {name}": self._of_pictures(place) for name, place in places.items() if place.is_dir()}
        return {CONFIGURATION: files, **{name: text for name, text in {**found, **pictures}.items() if text}}

    def _of_path(self, path: Path) -> str:
        try:
            look = partial(_of_folder if path.is_dir() else _of_file, path)
            return self._seen_or(str(path), look) if path.exists() else ""
        except OSError:  # a text that is no path, e.g. too long for one
            return ""

    def _of_pictures(self, folder: Path) -> str:
        """What a folder's images hold, whatever their names, sizes and times."""
        files = [path for path in sorted(_files(folder)) if path.suffix.lower() in IMAGE_SUFFIXES]
        return self._seen_or(f"{PICTURES} {folder}", lambda: self._pictures.of(files))

    def _seen_or(self, name: str, look: Callable[[], str]) -> str:
        if name not in self._seen:
            self._seen[name] = look()
        return self._seen[name]


@cache
def code() -> str:
    """What a trained number may depend on of this program, in a few letters: the code of what learns, and from what."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(file for room in _LEARNING for file in (root / room).rglob("*.py"))
    return key_of({file.relative_to(root).as_posix(): _of_file(file) for file in files})


def _of_folder(folder: Path) -> str:
    """Names and sizes of images, and the content of labels and lists, which are small; not their times.

    So it stays when the folder is copied, and changes when a label is corrected.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        content = _of_file(path) if path.suffix.lower() in _LABEL_SUFFIXES else path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\n{content}\n".encode())
    return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder, followlinks=True):
        paths = (Path(parent, name) for name in names)
        yield from (path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES | _LABEL_SUFFIXES)


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _of_yaml(path: Path) -> str:
    """What it says; comments are free to change."""
    return key_of({"content": yaml.safe_load(path.read_text(encoding="utf-8"))})


def _texts(layer: Mapping[str, Any]) -> Iterator[str]:
    """All texts in those parts of a configuration that may name files."""
    nested: list[Any] = [layer.get(section) for section in _SECTIONS]
    while nested:
        value = nested.pop()
        if isinstance(value, Mapping):
            nested += value.values()
        elif isinstance(value, list | tuple):
            nested += value
        elif isinstance(value, str) and (os.sep in value or "." in value):
            yield value
