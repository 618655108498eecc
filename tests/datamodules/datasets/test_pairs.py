"""Pairs of photos and caricatures in one frame, and files of shapes."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets.pairs import AUTOTOON_PAIRS, read_pairs, split_places
from datamodules.datasets.shapes import read_shapes
from datamodules.faces import DataError
from datamodules.formats import write_pts
from datamodules.transforms import crop_shape
from tests.layouts import write_face


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs; the caricature's landmarks are the photo's, moved by three pixels to the right."""
    for k in range(2):
        landmarks = write_face(tmp_path / f"photos/{k}.png", tmp_path / f"photos/{k}.pts", 64, seed=k)
        write_face(tmp_path / f"caricatures/{k}.png", None, 64, seed=k)
        write_pts(tmp_path / f"caricatures/{k}.pts", landmarks + np.array([3, 0], np.float32))
    return tmp_path


def test_both_are_cropped_to_the_photos_box(pairs: Path) -> None:
    found = read_pairs(pairs, 32)
    assert (len(found), found.names, found.photos.shape) == (2, ["0", "1"], (2, 3, 32, 32))
    landmarks = write_face(pairs / "again.png", None, 64, seed=1)
    np.testing.assert_allclose(found.photo_landmarks[1], crop_shape(landmarks), atol=1e-5)
    side = 1.2 * np.ptp(landmarks, axis=0).max()
    moved = np.tile([3 / side, 0], (68, 1))
    np.testing.assert_allclose(found.caricature_landmarks[1] - found.photo_landmarks[1], moved, atol=1e-5)
    np.testing.assert_array_equal(found.photos, found.caricatures)
    assert found.chosen([1]).names == ["1"]


def test_autotoons_split_is_the_published_one() -> None:
    train, test = split_places(AUTOTOON_PAIRS)
    assert (len(train), test) == (90, [1, 10, 16, 24, 40, 50, 60, 80, 87, 93, 100])
    train, test = split_places(10)
    assert sorted(train + test) == list(range(10))
    assert test == [9]


def test_what_is_wrong_with_pairs_is_said(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*photos/NAME"):
        read_pairs(tmp_path / "nowhere", 32)
    write_face(pairs / "photos/1.png", pairs / "photos/1.pts", 80, seed=1)
    with pytest.raises(DataError, match=r"1\.png: found 64×64 pixels, expected 80×80"):
        read_pairs(pairs, 32)
    (pairs / "photos/1.png").unlink()
    (pairs / "photos/1.pts").unlink()
    with pytest.raises(DataError, match=r"1 names in only one of photos/ and caricatures/, e\.g\. 1"):
        read_pairs(pairs, 32)


def test_shapes_of_a_file(tmp_path: Path) -> None:
    shapes = np.random.default_rng(0).random((4, 68, 2))
    np.save(tmp_path / "shapes.npy", shapes)
    np.savez(tmp_path / "shapes.npz", photo=shapes * 0, caricature=shapes)
    for name in ("shapes.npy", "shapes.npz"):
        np.testing.assert_allclose(read_shapes(tmp_path / name), shapes.astype(np.float32))


def test_what_is_wrong_with_shapes_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", photo=np.zeros((4, 68, 2)))
    np.save(tmp_path / "flat.npy", np.zeros((4, 136)))
    np.save(tmp_path / "nan.npy", np.full((4, 68, 2), np.nan))
    (tmp_path / "text.npy").write_text("no array")
    expected = {
        "other.npz": "the arrays",
        "flat.npy": r"an array \(4, 136\)",
        "nan.npy": "not finite",
        "text.npy": "numpy",
    }
    for name, found in {**expected, "missing.npy": "no such file"}.items():
        with pytest.raises(DataError, match=found):
            read_shapes(tmp_path / name)
