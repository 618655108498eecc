import logging
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from datamodules.datasets import ArtiFaceDataModule
from datamodules.faces import DataError
from tests.layouts import write_artiface


def reader(root: Path, **options: object) -> ArtiFaceDataModule:
    return ArtiFaceDataModule(str(root), strict_counts=False, **options)  # type: ignore[arg-type]


def numbers(paths: list[Path]) -> list[int]:
    return [int(path.stem) for path in paths]


@pytest.mark.parametrize("landmarks", ["npy", "pts"])
def test_full_tree_has_the_counts_of_table_1(tmp_path: Path, landmarks: Literal["npy", "pts"]) -> None:
    write_artiface(tmp_path, full_counts=True, landmarks=landmarks)
    module = ArtiFaceDataModule(str(tmp_path))
    train, test = module.train_faces(), module.test_faces()
    assert (len(train), len(test)) == (128, 32)
    assert numbers(test.paths) == list(range(5, 161, 5))
    assert train.has_landmarks
    assert test.has_landmarks
    assert set(test.subsets()) == {("artiface",)}
    whole = ArtiFaceDataModule(str(tmp_path), test="all").test_faces()
    assert numbers(whole.paths) == list(range(1, 161))
    assert set(whole.subsets()) == {("artiface",)}


def test_both_forms_of_landmarks_agree(tmp_path: Path) -> None:
    npy = reader(write_artiface(tmp_path / "npy")).test_faces()
    pts = reader(write_artiface(tmp_path / "pts", landmarks="pts")).test_faces()
    np.testing.assert_allclose(npy.shapes(), pts.shapes(), atol=1e-5)


def test_without_lists_the_last_by_number_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = ArtiFaceDataModule(str(write_artiface(tmp_path, full_counts=True, lists=())))
    assert numbers(module.test_faces().paths) == list(range(129, 161))
    assert "not the published split" in caplog.text
    assert numbers(module.train_faces().paths) == list(range(1, 129))


def test_with_all_no_list_is_needed_and_no_warning_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_artiface(tmp_path, lists=())
    with caplog.at_level(logging.INFO):
        assert len(reader(tmp_path, test="all").test_faces()) == 10
    assert not caplog.messages


def test_training_on_what_is_tested_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader(write_artiface(tmp_path), test="all").train_faces()
    assert "training on images of the test set" in caplog.text


@pytest.mark.parametrize("given", ["train", "test"])
def test_one_list_leaves_the_rest_to_the_other(tmp_path: Path, given: Literal["train", "test"]) -> None:
    both = reader(write_artiface(tmp_path / "both"))
    one = reader(write_artiface(tmp_path / "one", lists=[given]))
    assert numbers(one.train_faces().paths) == numbers(both.train_faces().paths)
    assert set(numbers(one.test_faces().paths)) == set(numbers(both.test_faces().paths))


def test_other_counts_are_told(tmp_path: Path) -> None:
    write_artiface(tmp_path)
    with pytest.raises(DataError, match=r"train 6 of 128 \(differs\); test 4 of 32 \(differs\).*strict_counts: false"):
        ArtiFaceDataModule(str(tmp_path)).test_faces()
    with pytest.raises(DataError, match=r"images 10 of 160 \(differs\)"):
        ArtiFaceDataModule(str(tmp_path), test="all").test_faces()


def test_boxes_are_read(tmp_path: Path) -> None:
    write_artiface(tmp_path)
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1\n10.png,1,2,30.5,40\n")
    faces = reader(tmp_path).test_faces()
    boxes = {path.name: faces[k].box for k, path in enumerate(faces.paths)}
    np.testing.assert_array_equal(boxes["10.png"], [1, 2, 30.5, 40])
    assert boxes["5.png"] is None


def test_missing_landmarks_and_images_are_named(tmp_path: Path) -> None:
    write_artiface(tmp_path)
    (tmp_path / "landmarks" / "5.png.npy").unlink()
    with pytest.raises(DataError, match=r"images/5\.png: found an image without landmarks"):
        reader(tmp_path).test_faces()
    (tmp_path / "images" / "7.png").unlink()
    with pytest.raises(DataError, match=r"train_list\.txt: found '7\.png' in line \d, expected names of images"):
        reader(tmp_path).train_faces()
    with pytest.raises(DataError, match=r"gone: found no such folder, expected the ArtiFace folder with images/"):
        reader(tmp_path / "gone").train_faces()


def test_stand_in_has_the_figure(tmp_path: Path) -> None:
    assert set(reader(tmp_path).stand_in(0).test_faces().subsets()) == {("artiface",)}
