"""What lies in a folder and is not used: pictures that are left out, names that look alike, labels of other tools."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from tests.layouts import face_landmarks, write_face, write_folder


def test_pictures_that_are_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 3)
    write_folder(tmp_path / "more" / "deep", 2, "unlabelled")
    write_face(tmp_path / "face.jpg", None).tofile(tmp_path / "notes.bin")
    (tmp_path / "face.jpg").rename(tmp_path / "face.jpg_large")
    with caplog.at_level(logging.INFO):
        faces = FolderDataModule(str(tmp_path))
        assert len(faces.train_faces()) == len(faces.test_faces()) == 3
    assert sorted(caplog.messages) == [
        f"{tmp_path}: 1 pictures of other kinds, by their suffixes, are left out (convert or rename them to jpg or "
        "png): face.jpg_large",
        f"{tmp_path}: 2 pictures in sub-folders, which are not searched, are left out: more/deep/face000.jpg, "
        "more/deep/face001.jpg",
    ]


def test_an_empty_images_hides_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "images").mkdir()
    assert len(FolderDataModule(str(tmp_path)).train_faces()) == 3
    assert "images/ holds no image; those beside it are used" in caplog.text
    write_face(tmp_path / "images" / "x.jpg", None)
    assert len(FolderDataModule(str(tmp_path)).train_faces()) == 1
    assert "3 pictures beside images/ are left out: face000.jpg" in caplog.text


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    """macOS writes a letter and its accent as two characters."""
    one, two = "caf\u00e9", "cafe\u0301"
    write_face(tmp_path / f"{one}.jpg", tmp_path / f"{two}.pts")
    write_face(tmp_path / "other.jpg", tmp_path / "other.pts")
    (tmp_path / "train_list.txt").write_text(f"{two}.jpg\n")
    faces = FolderDataModule(str(tmp_path)).train_faces()
    assert [Path(face.path).name for face in faces] == [f"{one}.jpg"]
    assert faces.has_landmarks


def test_names_that_are_not_utf8_are_refused_when_they_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, 3)
    write_face(tmp_path / "x.jpg", None)
    os.rename(tmp_path / "x.jpg", tmp_path / os.fsdecode(b"\xe9.jpg"))  # noqa: PTH104
    with pytest.raises(DataError, match=r"\.jpg: found a file name that is not UTF-8.*Rename it"):
        FolderDataModule(str(tmp_path)).train_faces()
    faces = FolderDataModule(str(tmp_path), on_error="skip", holdout=0.4).train_faces()
    assert faces.fingerprint()
    assert "skipped 1 of" in caplog.text


def _rows() -> str:
    return "".join(f"{x:.2f},{y:.2f}\n" for x, y in face_landmarks(64))


FOREIGN = {
    "dlib.xml": ("<dataset>\n<images>\n<image file='a.jpg'>\n<box><part name='00' x='1'/>", "dlib's"),
    "face000.json": (json.dumps({"version": "5", "shapes": [], "imagePath": "a.jpg"}), "labelme's"),
    "person.json": (json.dumps({"images": [], "annotations": [{"keypoints": [1, 2, 2]}]}), "COCO's"),
    "list_98pt.txt": (" ".join(["1.5"] * 196) + " a.jpg\n", "WFLW's"),
    "face000.txt": (_rows(), "NAME.pts if they count from 1"),
    "face000.mat": ("MATLAB 5.0 MAT-file", "scipy.io.loadmat"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("place", [".", "annotations"])
def test_labels_of_other_tools_are_named(tmp_path: Path, name: str, place: str) -> None:
    text, words = FOREIGN[name]
    write_folder(tmp_path, 3, "unlabelled")
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / name).write_text(text)
    with pytest.raises(
        DataError, match=f"none of 3 test images has landmarks.*{name} holds labels of another form"
    ) as error:
        FolderDataModule(str(tmp_path)).test_faces()
    assert words in str(error.value)


def test_captions_are_no_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, 3, "unlabelled")
    (tmp_path / "face000.txt").write_text("a man with a hat, oil on canvas\n")
    with pytest.raises(DataError) as error:
        FolderDataModule(str(tmp_path)).test_faces()
    assert "another form" not in str(error.value)
    np.testing.assert_equal(str(error.value).count("\n"), 0)
