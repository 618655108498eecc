import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets import CariFaceDataModule
from datamodules.faces import DataError, UnlabelledFaces
from datamodules.formats import read_npy
from tests.layouts import write_cariface, write_folder

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def reader(root: Path, **options: object) -> CariFaceDataModule:
    return CariFaceDataModule(str(root), strict_counts=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cariface(tmp_path_factory.mktemp("cariface"), full_counts=True, lists=())


def test_without_lists_the_last_800_names_are_the_test(full: Path) -> None:
    module = CariFaceDataModule(str(full))
    train, test = module.train_faces(), module.test_faces()
    assert len(train) == 7000
    assert len(test) == 800
    assert test.paths[0].name == "07001.jpg"
    assert set(test.subsets()) == {("cariface",)}
    assert not set(train.paths) & set(test.paths)


def test_with_lists_3372_and_800(full: Path, tmp_path: Path) -> None:
    for folder in ("images", "landmarks"):
        (tmp_path / folder).symlink_to(full / folder)
    train = [f"{k:05d}.jpg" for k in range(1, 7000, 2)][:3372]
    test = [f"{k:05d}.jpg" for k in range(2, 1602, 2)]
    (tmp_path / "train_list.txt").write_text("\n".join(train))
    (tmp_path / "test_list.txt").write_text("\r\n".join(test))
    module = CariFaceDataModule(str(tmp_path))
    assert [path.name for path in module.train_faces().paths] == train
    assert [path.name for path in module.test_faces().paths] == test


def test_strict_counts_tell_what_is_missing(full: Path, tmp_path: Path) -> None:
    (tmp_path / "landmarks").symlink_to(full / "landmarks")
    shutil.copytree(full / "images", tmp_path / "images", copy_function=os.link)
    (tmp_path / "images" / "00001.jpg").unlink()
    with pytest.raises(DataError, match=r"train 6999 of 7000 \(differs\); test 800 of 800.*strict_counts: false"):
        CariFaceDataModule(str(tmp_path)).test_faces()
    (tmp_path / "test_list.txt").write_text("00002.jpg\n00003.jpg\n")
    (tmp_path / "train_list.txt").write_text("00004.jpg\n")
    with pytest.raises(DataError, match=r"test 2 of 800 \(differs\)"):
        CariFaceDataModule(str(tmp_path)).train_faces()
    assert len(reader(tmp_path).test_faces()) == 2


def test_landmarks_belong_to_their_image(tmp_path: Path) -> None:
    faces = reader(write_cariface(tmp_path)).test_faces()
    for k, path in enumerate(faces.paths):
        np.testing.assert_array_equal(faces[k].landmarks, read_npy(tmp_path / "landmarks" / f"{path.name}.npy"))


@pytest.mark.parametrize("labelled_train", [True, False])
def test_training_images_need_no_landmarks(tmp_path: Path, labelled_train: bool) -> None:
    write_cariface(tmp_path, labelled_train=labelled_train)
    train = reader(tmp_path).train_faces()
    assert len(train) == 6
    assert train.has_landmarks == labelled_train
    assert UnlabelledFaces(train)[0].landmarks is None


def test_test_images_do(tmp_path: Path) -> None:
    write_cariface(tmp_path)
    (tmp_path / "landmarks" / "00008.jpg.npy").unlink()
    with pytest.raises(DataError, match=r"00008\.jpg: found an image without landmarks"):
        reader(tmp_path).test_faces()
    assert len(reader(tmp_path, on_error="skip").test_faces()) == 3


def test_one_list_alone(tmp_path: Path) -> None:
    write_cariface(tmp_path, lists=["test"])
    assert len(reader(tmp_path).train_faces()) == 6
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(DataError, match=r"found no image in the training split.*Write train_list\.txt"):
        reader(tmp_path).train_faces()
    (tmp_path / "train_list.txt").write_text("00001.jpg\n")
    with pytest.raises(DataError, match="1 images in both the training and the test split"):
        reader(tmp_path).train_faces()  # of ten images, all are among the last 800


def test_a_user_s_training_list_rules(tmp_path: Path) -> None:
    write_cariface(tmp_path, listed_train=2)
    assert [path.name for path in reader(tmp_path).train_faces().paths] == ["00001.jpg", "00002.jpg"]


def test_list_that_names_a_missing_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_cariface(tmp_path)
    path = tmp_path / "train_list.txt"
    path.write_text("00001.jpg\n\nnone.jpg\n00002.jpg\n")
    with pytest.raises(DataError, match=r"train_list\.txt: found 'none\.jpg' in line 3, expected names of images"):
        reader(tmp_path).train_faces()
    assert len(reader(tmp_path, on_error="skip").train_faces()) == 2
    assert "skipped 1 of 3" in caplog.text


def test_an_image_in_both_lists(tmp_path: Path) -> None:
    write_cariface(tmp_path)
    with (tmp_path / "train_list.txt").open("a") as file:
        file.write("00009.jpg\n")
    with pytest.raises(DataError, match=r"1 images in both the training and the test split, e\.g\. 00009\.jpg"):
        reader(tmp_path).test_faces()


def test_truncated_image_and_bad_landmarks_are_named_or_skipped(tmp_path: Path) -> None:
    write_cariface(tmp_path)
    image = tmp_path / "images" / "00002.jpg"
    image.write_bytes(image.read_bytes()[:500])
    np.save(tmp_path / "landmarks" / "00007.jpg.npy", np.zeros((67, 2)))
    with pytest.raises(DataError, match=r"CariFace train: .*00002\.jpg: found 500 bytes"):
        reader(tmp_path).train_faces()
    with pytest.raises(DataError, match=r"CariFace test: .*00007\.jpg\.npy: found 67 points"):
        reader(tmp_path).test_faces()
    module = reader(tmp_path, on_error="skip")
    assert (len(module.train_faces()), len(module.test_faces())) == (5, 3)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: found no such folder, expected the CariFace folder with images/"):
        reader(tmp_path / "gone").train_faces()
    with pytest.raises(DataError, match="found an empty folder, expected the CariFace folder"):
        reader(tmp_path).test_faces()
    write_folder(tmp_path / "images" / "celebrity", 1)
    with pytest.raises(DataError, match="found no image but images/"):
        reader(tmp_path).test_faces()


def test_stand_in_has_the_figure(tmp_path: Path) -> None:
    test = reader(tmp_path).stand_in(0).test_faces()
    assert set(test.subsets()) == {("cariface",)}


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real faces in ../shared/data")
def test_real_caricatures() -> None:
    module = reader(SHARED / "caricatures")
    train, test = module.train_faces(), module.test_faces()
    assert (len(train), len(test)) == (1636, 25)
    assert not train.has_landmarks
    assert test.has_landmarks
    assert train[0].image.shape == (218, 178, 3)
