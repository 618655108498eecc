"""What is made from pictures is kept under what they hold: painted over in place, they make another."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.strategies import SingleDeviceStrategy

from datamodules.face_sets import ChosenFaces, JoinedFaces, SomeFaces, UnlabelledFaces
from datamodules.files import FileFaces
from datamodules.layout import Entry
from experiments.artifacts.pictures import PictureContents, pictures_of
from experiments.artifacts.store import Recipe, RunContext, provide
from tests.layouts import write_folder


@dataclass
class Collage(Recipe):
    """Made of pictures of which its facts know the sizes alone."""

    what, place, file = "collage", "collages", "collage.txt"

    files: list[Path]

    def facts(self) -> Mapping[str, Any]:
        return {"sizes": [file.stat().st_size for file in self.files]}

    def pictures(self) -> list[Path]:
        return self.files

    def make(self, folder: Path, context: RunContext) -> None:
        (folder / self.file).write_bytes(b"".join(file.read_bytes() for file in self.files))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a.bmp", "b.bmp")]
    for file in made:
        file.write_bytes(file.name.encode() * 10)
    return made


@pytest.fixture
def made(tmp_path: Path, files: list[Path]) -> Callable[[], Path]:
    """Makes the collage, as a command of its own would."""

    def make() -> Path:
        runs = tmp_path / "runs"
        contents = PictureContents(runs / "pictures.json")
        return provide(Collage(files), RunContext(runs, 0, {}, SingleDeviceStrategy("cpu"), contents))

    return make


def repaint(file: Path) -> None:
    """Another picture of the same size, with the old one's time."""
    about = file.stat()
    file.write_bytes(bytes(reversed(file.read_bytes())))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_pictures_painted_over_in_place_make_another(made: Callable[[], Path], files: list[Path]) -> None:
    first = made()
    assert made() == first
    before = first.read_bytes()
    repaint(files[1])
    second = made()
    assert second != first
    assert (first.read_bytes(), second.read_bytes()) == (before, b"".join(file.read_bytes() for file in files))
    repaint(files[1])
    assert made() == first, "they are what they were"


def test_a_file_is_read_where_it_may_have_changed(
    made: Callable[[], Path], files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made()
    made()  # until the folder of runs is there, nothing is noted
    read: list[str] = []
    whole = Path.read_bytes

    def note(self: Path) -> bytes:
        read.append(self.name)
        return whole(self)

    monkeypatch.setattr(Path, "read_bytes", note)
    made()
    assert read == []
    files[0].touch()
    made()
    assert read == ["a.bmp"]


def test_what_an_earlier_version_made(made: Callable[[], Path], files: list[Path]) -> None:
    """It noted no contents: it is used unless a picture is younger."""
    first = made()
    (first.parent / "pictures.txt").unlink()
    assert made() == first
    (first.parent / "pictures.txt").unlink()
    later = first.stat().st_mtime_ns + 10**9
    os.utime(files[0], ns=(later, later))
    assert made() != first


def test_a_note_that_is_damaged_or_cannot_be_kept(tmp_path: Path, files: list[Path]) -> None:
    expected = PictureContents().of(files)
    (tmp_path / "note.json").write_text('{"a": 3')
    for note in (tmp_path / "note.json", tmp_path / "nowhere/note.json"):
        assert PictureContents(note).of(files) == expected
    assert PictureContents().of([]) == ""


def test_files_of_face_sets(tmp_path: Path) -> None:
    images = sorted(write_folder(tmp_path / "faces", 4).glob("*.jpg"))
    faces = FileFaces([Entry(path, path.with_suffix(".pts")) for path in images])
    chosen, some = ChosenFaces(faces, [2, 0]), SomeFaces(faces, 2)
    assert pictures_of([chosen, None, UnlabelledFaces(some)]) == [images[2], images[0], images[0], images[2]]
    assert JoinedFaces([some, faces]).files() == [images[0], images[2], *images]
