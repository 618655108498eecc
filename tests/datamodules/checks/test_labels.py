"""Usual mistakes in labels, on files as people have them: found on one face, on a whole set, and not on good ones."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.checks.labels import upright_sine
from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError, FloatArray
from datamodules.formats import write_npy, write_pts
from datamodules.synthetic import face_geometry
from tests.layouts import face_landmarks, write_folder

SIZE = 64


def some(count: int, at: float) -> Callable[[FloatArray], FloatArray]:
    return lambda points: np.where(np.arange(68)[:, None] < count, at, points)


MISTAKES: dict[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "mirrored": (lambda p: np.c_[SIZE - 1 - p[:, 0], p[:, 1]], "left and right exchanged"),
    "columns": (lambda p: p[:, ::-1], "columns in the order y, x"),
    "from below": (lambda p: np.c_[p[:, 0], SIZE - 1 - p[:, 1]], "y counted from below"),
    "one at zero": (some(1, 0), "points at (0, 0)"),
    "jaw at -1": (some(17, -1), "points at (0, 0) or (-1, -1)"),
    "three at one place": (some(3, 20.5), "three or more landmarks at one place"),
    "reshaped": (lambda p: p.T.reshape(68, 2), "an order that is not iBUG-68's"),
    "other order": (lambda p: np.roll(p, 17, axis=0), "an order that is not iBUG-68's"),
    "0 to 1": (lambda p: p / SIZE, "fractions of the picture"),
    "-1 to 1": (lambda p: p / SIZE * 2 - 1, "fractions of the picture"),
    "twice as large": (lambda p: p * 4, "landmarks far outside the picture"),
}


def folder(root: Path, bad: int, change: Callable[[FloatArray], FloatArray], suffix: str = ".npy") -> Path:
    """Six faces, of which so many have labels with a mistake."""
    write_folder(root, 6, "unlabelled")
    for k in range(6):
        points = face_landmarks(SIZE, k)
        write = write_npy if suffix == ".npy" else write_pts
        write(root / f"face{k:03d}{suffix}", np.asarray(change(points) if k < bad else points, np.float32))
    return root


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_set_with_a_mistake_is_refused_with_its_cause(tmp_path: Path, mistake: str) -> None:
    change, cause = MISTAKES[mistake]
    with pytest.raises(DataError) as error:
        FolderDataModule(str(folder(tmp_path, 6, change))).train_faces()
    assert cause in str(error.value)
    assert "in 6 of 6 labelled faces" in str(error.value)
    assert "face000.jpg" in str(error.value)
    assert "on_error" not in str(error.value), "there is nothing to go on with"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_face_in_a_good_set_is_named_or_skipped(
    tmp_path: Path, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder(tmp_path, 1, MISTAKES[mistake][0])
    with pytest.raises(DataError, match=r"face000\.jpg: found .*on_error=skip"):
        FolderDataModule(str(root)).train_faces()
    assert len(FolderDataModule(str(root), on_error="skip").train_faces()) == 5
    assert "skipped 1 of 6" in caplog.text


def test_skipping_does_not_save_a_set_whose_columns_are_wrong(tmp_path: Path) -> None:
    root = folder(tmp_path, 4, MISTAKES["columns"][0])
    with pytest.raises(DataError, match="in 4 of 6 labelled faces"):
        FolderDataModule(str(root), on_error="skip").train_faces()


def test_skipping_leaves_out_faces_that_are_not_annotated(tmp_path: Path) -> None:
    root = folder(tmp_path, 4, MISTAKES["jaw at -1"][0])
    assert len(FolderDataModule(str(root), on_error="skip").train_faces()) == 2


def test_sentinels_of_files_that_count_from_one(tmp_path: Path) -> None:
    for place, sentinel in enumerate((0, -1)):
        root = folder(tmp_path / str(place), 6, some(17, sentinel - 1), ".pts")
        with pytest.raises(DataError, match="17 points at"):
            FolderDataModule(str(root)).train_faces()


def test_labels_of_a_smaller_copy_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FolderDataModule(str(folder(tmp_path / "good", 0, lambda p: p))).train_faces()
        assert not caplog.messages
        FolderDataModule(str(folder(tmp_path / "small", 6, lambda p: p / 4 + 1))).train_faces()
    assert "all 6 labelled faces lie in the upper left quarter" in caplog.text


@pytest.mark.parametrize("kind", ["photo", "caricature", "painting"])
def test_the_sign_that_tells_is_plain_on_faces_turned_in_any_way(kind: str) -> None:
    for k in range(20):
        points = face_geometry(kind, 0, k, 128).landmarks
        angle = 2 * np.pi * k / 20
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert upright_sine((points @ turn.T).astype(np.float32)) > 0.85
        assert upright_sine((points @ turn.T * [-1, 1]).astype(np.float32)) < -0.85
