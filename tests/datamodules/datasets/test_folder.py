import logging
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from datamodules.files import FileFaces, require_labelled
from tests.layouts import write_face, write_folder

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
LAYOUTS: list[Literal["pts", "npy", "cariface"]] = ["pts", "npy", "cariface"]


def names(faces: FileFaces) -> set[str]:
    return {path.name for path in faces.paths}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labelled_layouts(tmp_path: Path, layout: Literal["pts", "npy", "cariface"]) -> None:
    module = FolderDataModule(str(write_folder(tmp_path, 5, layout)), name="mine")
    train, test = module.train_faces(), module.test_faces()
    assert len(train) == len(test) == 5
    assert train.has_landmarks
    assert test.subsets() == [("mine",)] * 5
    assert train.subsets() == [()] * 5
    assert module.has_test
    assert not module.test_is_held_out
    np.testing.assert_allclose(test[3].landmarks, write_face(tmp_path / "x" / "x.jpg", None, seed=3), atol=1e-5)


@pytest.mark.parametrize("form", ["{stem}.npy", "{name}.npy", "{stem}.pts", "{name}.pts"])
@pytest.mark.parametrize("place", [".", "landmarks"])
def test_landmarks_by_name_or_stem_in_either_place(tmp_path: Path, form: str, place: str) -> None:
    write_face(tmp_path / "a.b.jpg", tmp_path / place / form.format(stem="a.b", name="a.b.jpg"))
    assert FolderDataModule(str(tmp_path)).train_faces().has_landmarks


def test_images_without_landmarks_are_a_target_and_no_test(tmp_path: Path) -> None:
    module = FolderDataModule(str(write_folder(tmp_path, 4, "unlabelled")))
    train = module.train_faces()
    assert len(train) == 4
    assert not train.has_landmarks
    assert not module.has_test
    with pytest.raises(DataError, match=r"none of 4 test images has landmarks.*x\.pts.*test_root"):
        module.test_faces()
    with pytest.raises(DataError, match=r"face000\.jpg.*4 of 4 have none.*of the source"):
        require_labelled(train, "source")


def test_partly_labelled_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 5)
    (tmp_path / "face003.pts").unlink()
    module = FolderDataModule(str(tmp_path))
    train = module.train_faces()
    assert len(train) == 5
    assert "1 of 5 training images have no landmarks" in caplog.text
    with pytest.raises(DataError, match=r"face003\.jpg.*1 of 5 have none"):
        require_labelled(train, "source")
    assert names(module.test_faces()) == {f"face{k:03d}.jpg" for k in (0, 1, 2, 4)}
    assert "left 1 of 5 images without landmarks out of the test" in caplog.text


@pytest.mark.parametrize("train_layout", [*LAYOUTS, "unlabelled"])
@pytest.mark.parametrize("test_layout", LAYOUTS)
def test_train_and_test_folders(tmp_path: Path, train_layout: Literal["pts"], test_layout: Literal["pts"]) -> None:
    write_folder(tmp_path / "train", 4, train_layout, prefix="a")
    write_folder(tmp_path / "test", 2, test_layout, prefix="b")
    module = FolderDataModule(str(tmp_path), holdout=0.5)
    assert names(module.train_faces()) == {f"a{k:03d}.jpg" for k in range(4)}
    assert names(module.test_faces()) == {"b000.jpg", "b001.jpg"}
    assert module.test_is_held_out


def test_test_folder_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, 3, prefix="a")
    write_folder(tmp_path / "test", 2, prefix="b")
    module = FolderDataModule(str(tmp_path))
    assert names(module.train_faces()) == {"a000.jpg", "a001.jpg", "a002.jpg"}
    assert names(module.test_faces()) == {"b000.jpg", "b001.jpg"}


def test_train_folder_alone_can_be_held_out_from(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 10)
    assert len(FolderDataModule(str(tmp_path)).test_faces()) == 10
    held = FolderDataModule(str(tmp_path), holdout=0.2)
    assert (len(held.train_faces()), len(held.test_faces())) == (8, 2)


def test_images_beside_the_train_folder_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 2, prefix="stray")
    write_folder(tmp_path / "train", 3)
    assert len(FolderDataModule(str(tmp_path)).train_faces()) == 3
    assert "ignored 2 images beside the folder train/" in caplog.text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lists_split_any_layout(tmp_path: Path, layout: Literal["pts", "npy", "cariface"]) -> None:
    write_folder(tmp_path, 6, layout)
    (tmp_path / "test_list.txt").write_text("face004.jpg\nface001.jpg\n")
    module = FolderDataModule(str(tmp_path))
    assert names(module.train_faces()) == {f"face{k:03d}.jpg" for k in (0, 2, 3, 5)}
    assert [path.name for path in module.test_faces().paths] == ["face004.jpg", "face001.jpg"]
    assert module.test_is_held_out
    (tmp_path / "train_list.txt").write_text("face000.jpg\n")
    assert names(module.train_faces()) == {"face000.jpg"}
    (tmp_path / "test_list.txt").unlink()
    assert names(module.test_faces()) == {f"face{k:03d}.jpg" for k in range(1, 6)}


def test_bad_lists_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "test_list.txt").write_text("face000.jpg\nface000.png\n")
    with pytest.raises(DataError, match=r"test_list\.txt: found 'face000\.png' in line 2"):
        FolderDataModule(str(tmp_path)).test_faces()
    (tmp_path / "train_list.txt").write_text("face000.jpg\n")
    with pytest.raises(DataError, match="in both the training and the test split"):
        FolderDataModule(str(tmp_path)).train_faces()


def test_holdout_is_disjoint_and_the_same_everywhere(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", 20)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    module = FolderDataModule(str(tmp_path / "a"), holdout=0.25)
    train, test = names(module.train_faces()), names(module.test_faces())
    assert (len(train), len(test)) == (15, 5)
    assert not train & test
    assert module.test_is_held_out
    assert names(FolderDataModule(str(tmp_path / "b"), holdout=0.25).test_faces()) == test
    assert names(FolderDataModule(str(tmp_path / "a"), holdout=0.25, seed=1).test_faces()) != test
    assert names(FolderDataModule(str(tmp_path / "a"), holdout=0.5).test_faces()) > test
    assert len(FolderDataModule(str(tmp_path / "a"), holdout=0.001).test_faces()) == 1
    assert len(FolderDataModule(str(tmp_path / "a"), holdout=0.999).train_faces()) == 1


def test_only_labelled_images_are_held_out(tmp_path: Path) -> None:
    write_folder(tmp_path, 4, prefix="a")
    write_folder(tmp_path, 10, "unlabelled", prefix="b")
    module = FolderDataModule(str(tmp_path), holdout=0.5)
    assert len(module.train_faces()) == 12
    assert len(module.test_faces()) == 2
    assert module.test_faces().has_landmarks


@pytest.mark.parametrize("holdout", [-0.1, 1.0])
def test_holdout_out_of_range(tmp_path: Path, holdout: float) -> None:
    with pytest.raises(ValueError, match=f"holdout is {holdout}"):
        FolderDataModule(str(tmp_path), holdout=holdout)


def test_limit_spreads_over_the_names_and_spares_the_test(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    module = FolderDataModule(str(tmp_path), limit=4)
    assert [path.stem for path in module.train_faces().paths] == ["face000", "face002", "face005", "face007"]
    assert len(module.test_faces()) == 10
    assert len(FolderDataModule(str(tmp_path), limit=99).train_faces()) == 10
    with pytest.raises(ValueError, match="limit is 0; give at least 1"):
        FolderDataModule(str(tmp_path), limit=0)


def test_test_root(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", 4, prefix="a")
    write_folder(tmp_path / "drawings", 3, prefix="b")
    module = FolderDataModule(str(tmp_path / "photos"), str(tmp_path / "drawings"), holdout=0.5)
    assert len(module.train_faces()) == 4
    assert names(module.test_faces()) == {"b000.jpg", "b001.jpg", "b002.jpg"}
    assert module.test_is_held_out
    write_folder(tmp_path / "drawings" / "test", 1, prefix="c")
    assert names(module.test_faces()) == {"c000.jpg"}
    assert not FolderDataModule(str(tmp_path / "photos"), str(tmp_path / "photos")).test_is_held_out


def test_boxes(tmp_path: Path) -> None:
    write_folder(tmp_path, 3, "unlabelled")
    (tmp_path / "boxes.csv").write_text("\ufeffname,x0,y0,x1,y1\r\nface001.jpg,1,2,30,40.5\r\n\r\n")
    faces = FolderDataModule(str(tmp_path)).train_faces()
    np.testing.assert_array_equal(faces[1].box, [1, 2, 30, 40.5])
    assert faces[0].box is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 bytes"),
        ("face000.jpg,1,2,3,4\n", "header 'face000.jpg,1,2,3,4', expected 'name,x0,y0,x1,y1'"),
        ("name,x0,y0,x1,y1\nface000.jpg,1,2,3\n", "'1,2,3' in line 2"),
        ("name,x0,y0,x1,y1\nface000.jpg,1,2,3,high\n", "'1,2,3,high' in line 2"),
        ("name,x0,y0,x1,y1\nface000.jpg,10,2,3,4\n", "line 2.*x0 < x1"),
        ("name,x0,y0,x1,y1\nface000.jpg,1,2,nan,4\n", "line 2"),
        ("name,x0,y0,x1,y1\nface009.jpg,1,2,3,4\n", "'face009.jpg' in line 2, which is no image there"),
        ("name,x0,y0,x1,y1\n" + 2 * "face000.jpg,1,2,3,4\n", "'face000.jpg' in line 3, which is there twice"),
        ("name,x0,y0,x1,y1\nface000.jpg,70,2,80,4\n", "outside an image of 64×64"),
    ],
)
def test_bad_boxes_are_named(tmp_path: Path, text: str, message: str) -> None:
    write_folder(tmp_path, 3, "unlabelled")
    (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"(boxes\.csv|face000\.jpg): found .*{message}"):
        FolderDataModule(str(tmp_path)).train_faces()


def test_shared_stem(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    write_face(tmp_path / "face001.png", None)
    with pytest.raises(DataError, match=r"found 2 images of that name.*share face001\.pts.*2 of 3 files"):
        FolderDataModule(str(tmp_path)).train_faces()
    for suffix in ("jpg", "png"):
        write_face(tmp_path / f"face001.{suffix}", tmp_path / f"face001.{suffix}.npy")
    assert FolderDataModule(str(tmp_path)).train_faces().has_landmarks
    write_face(tmp_path / "u" / "a.jpg", None)
    write_face(tmp_path / "u" / "a.png", None)
    assert len(FolderDataModule(str(tmp_path / "u")).train_faces()) == 2


def test_landmarks_without_image_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "face001.jpg").rename(tmp_path / "face001.heic")
    assert len(FolderDataModule(str(tmp_path)).train_faces()) == 2
    assert "1 landmark files belong to no image, e.g. face001.pts" in caplog.text


def test_junk_is_ignored_and_links_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path / "disk", 3)
    for name in (".DS_Store", "._face000.jpg", "._face000.pts", "desktop.ini", "notes.txt"):
        (tmp_path / "disk" / name).write_bytes(b"junk")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with caplog.at_level(logging.INFO):
        assert len(FolderDataModule(str(tmp_path / "link")).train_faces()) == 3
    assert not caplog.messages


@pytest.mark.parametrize("suffix", ["jpeg", "PNG", "Bmp", "webp", "tif", "tiff"])
def test_image_suffixes(tmp_path: Path, suffix: str) -> None:
    write_face(tmp_path / f"a.{suffix}", tmp_path / "a.pts")
    assert FolderDataModule(str(tmp_path)).train_faces().has_landmarks


def test_skip_reaches_both_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / split, 3)
        (tmp_path / split / "face001.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"own train: .*train/face001\.jpg"):
        FolderDataModule(str(tmp_path)).train_faces()
    module = FolderDataModule(str(tmp_path))
    module.on_error = "skip"  # as the composed data module sets it
    assert (len(module.train_faces()), len(module.test_faces())) == (2, 2)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: found no such folder, expected a folder of images"):
        FolderDataModule(str(tmp_path / "gone")).train_faces()
    with pytest.raises(DataError, match=r"gone: found no such folder"):
        FolderDataModule(str(tmp_path), test_root=str(tmp_path / "gone")).test_faces()
    with pytest.raises(DataError, match="found an empty folder"):
        FolderDataModule(str(tmp_path)).train_faces()
    (tmp_path / "file.jpg").touch()
    with pytest.raises(DataError, match=r"file\.jpg: found a file, expected a folder"):
        FolderDataModule(str(tmp_path / "file.jpg")).train_faces()
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: found an empty folder"):
        FolderDataModule(str(tmp_path)).train_faces()
    write_folder(tmp_path / "people" / "anna", 1)
    with pytest.raises(DataError, match="people: found no image but anna/"):
        FolderDataModule(str(tmp_path / "people")).train_faces()


def test_a_folder_with_only_a_test_folder_trains_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "test", 2)
    module = FolderDataModule(str(tmp_path))
    assert len(module.test_faces()) == 2
    with pytest.raises(DataError, match="found no image in the training split"):
        module.train_faces()


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real faces in ../shared/data")
def test_real_photos_and_caricatures() -> None:
    photos = FolderDataModule(str(SHARED / "photos"))
    train, test = photos.train_faces(), photos.test_faces()
    assert (len(train), len(test)) == (3000, 371)
    assert train.has_landmarks
    assert test.has_landmarks
    caricatures = FolderDataModule(str(SHARED / "caricatures"))
    assert (len(caricatures.train_faces()), len(caricatures.test_faces())) == (1636, 25)
