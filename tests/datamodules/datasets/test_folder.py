import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from datamodules.files import FileFaces, require_labelled
from tests.layouts import Layout, face_landmarks, write_face, write_folder

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
LABELLED: list[Layout] = ["pts", "npy", "cariface"]


def names(faces: FileFaces) -> set[str]:
    return {path.name for path in faces.paths}


def numbered(prefix: str, *numbers: int) -> set[str]:
    return {f"{prefix}{k:03d}.jpg" for k in numbers}


@pytest.mark.parametrize("layout", LABELLED)
def test_labelled_layouts(tmp_path: Path, layout: Layout) -> None:
    module = FolderDataModule(str(write_folder(tmp_path, 5, layout)), name="mine")
    train, test = module.train_faces(), module.test_faces()
    assert train.has_landmarks
    assert test.subsets() == [("mine",)] * 5
    assert train.subsets() == [()] * 5
    assert module.has_test
    np.testing.assert_allclose(test[3].landmarks, face_landmarks(64, 3), atol=1e-5)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "PNG", "Bmp", "webp", "tif", "tiff"])
@pytest.mark.parametrize("landmarks", ["a.b.npy", "a.b.{}.npy", "a.b.pts", "landmarks/a.b.npy", "landmarks/a.b.{}.pts"])
def test_names_of_images_and_landmarks(tmp_path: Path, suffix: str, landmarks: str) -> None:
    write_face(tmp_path / f"a.b.{suffix}", tmp_path / landmarks.format(suffix))
    assert FolderDataModule(str(tmp_path)).train_faces().has_landmarks


def test_images_without_landmarks_are_a_target_and_no_test(tmp_path: Path) -> None:
    module = FolderDataModule(str(write_folder(tmp_path, 4, "unlabelled")))
    train = module.train_faces()
    assert (len(train), train.has_landmarks, module.has_test) == (4, False, False)
    with pytest.raises(DataError, match="none of 4 test images has landmarks"):
        module.test_faces()


def test_partly_labelled_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 5)
    (tmp_path / "face003.pts").unlink()
    module = FolderDataModule(str(tmp_path))
    train = module.train_faces()
    assert len(train) == 5
    assert "1 of 5 training images have no landmarks" in caplog.text
    with pytest.raises(DataError, match=r"face003\.jpg.*1 of 5 have none"):
        require_labelled(train, "source")
    assert names(module.test_faces()) == numbered("face", 0, 1, 2, 4)
    assert "left 1 of 5 images without landmarks out of the test" in caplog.text


class TestSplits:
    @pytest.mark.parametrize("train_layout", [*LABELLED, "unlabelled"])
    @pytest.mark.parametrize("test_layout", LABELLED)
    def test_train_and_test_folders(self, tmp_path: Path, train_layout: Layout, test_layout: Layout) -> None:
        write_folder(tmp_path / "train", 4, train_layout, prefix="a")
        write_folder(tmp_path / "test", 2, test_layout, prefix="b")
        module = FolderDataModule(str(tmp_path), holdout=0.5)
        assert names(module.train_faces()) == numbered("a", 0, 1, 2, 3)
        assert names(module.test_faces()) == numbered("b", 0, 1)

    def test_a_test_folder_among_or_without_other_images(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "test", 2, prefix="b")
        module = FolderDataModule(str(tmp_path))
        assert names(module.test_faces()) == numbered("b", 0, 1)
        with pytest.raises(DataError, match="found no image in the training split"):
            module.train_faces()
        write_folder(tmp_path, 3, prefix="a")
        assert names(module.train_faces()) == numbered("a", 0, 1, 2)
        assert names(module.test_faces()) == numbered("b", 0, 1)

    def test_a_train_folder_alone_can_be_held_out_from(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_folder(tmp_path / "train", 10)
        write_folder(tmp_path, 2, prefix="stray")
        assert len(FolderDataModule(str(tmp_path)).test_faces()) == 10
        assert "ignored 2 images beside the folder train/" in caplog.text
        held = FolderDataModule(str(tmp_path), holdout=0.2)
        assert (len(held.train_faces()), len(held.test_faces())) == (8, 2)

    @pytest.mark.parametrize("layout", LABELLED)
    def test_lists_split_any_layout(self, tmp_path: Path, layout: Layout) -> None:
        write_folder(tmp_path, 6, layout)
        module = FolderDataModule(str(tmp_path))
        (tmp_path / "test_list.txt").write_text("face004.jpg\nface001.jpg\n")
        assert names(module.train_faces()) == numbered("face", 0, 2, 3, 5)
        assert [path.name for path in module.test_faces().paths] == ["face004.jpg", "face001.jpg"]
        (tmp_path / "train_list.txt").write_text("face000.jpg\n")
        assert names(module.train_faces()) == numbered("face", 0)
        (tmp_path / "test_list.txt").unlink()
        assert names(module.test_faces()) == numbered("face", 1, 2, 3, 4, 5)

    def test_holdout_is_disjoint_and_the_same_everywhere(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "a", 20)
        shutil.copytree(tmp_path / "a", tmp_path / "b")

        def held(folder: str, share: float, seed: int = 0) -> tuple[set[str], set[str]]:
            module = FolderDataModule(str(tmp_path / folder), holdout=share, seed=seed)
            return names(module.train_faces()), names(module.test_faces())

        train, test = held("a", 0.25)
        assert (len(train), len(test)) == (15, 5)
        assert not train & test
        assert held("b", 0.25) == (train, test)
        assert held("a", 0.25, seed=1)[1] != test
        assert held("a", 0.5)[1] > test
        assert len(held("a", 0.001)[1]) == len(held("a", 0.999)[0]) == 1

    def test_only_labelled_images_are_held_out(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 4, prefix="a")
        write_folder(tmp_path, 10, "unlabelled", prefix="b")
        module = FolderDataModule(str(tmp_path), holdout=0.5)
        assert len(module.train_faces()) == 12
        assert len(module.test_faces()) == 2

    def test_test_root(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "photos", 4, prefix="a")
        write_folder(tmp_path / "drawings", 3, prefix="b")
        module = FolderDataModule(str(tmp_path / "photos"), str(tmp_path / "drawings"), holdout=0.5)
        assert len(module.train_faces()) == 4
        assert names(module.test_faces()) == numbered("b", 0, 1, 2)
        write_folder(tmp_path / "drawings" / "test", 1, prefix="c")
        assert names(module.test_faces()) == numbered("c", 0)

    def test_limit_spreads_over_the_names_and_spares_the_test(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 10)
        module = FolderDataModule(str(tmp_path), limit=4)
        assert names(module.train_faces()) == numbered("face", 0, 2, 5, 7)
        assert len(module.test_faces()) == 10
        assert len(FolderDataModule(str(tmp_path), limit=99).train_faces()) == 10


@pytest.mark.parametrize("options", [{"holdout": -0.1}, {"holdout": 1.0}, {"limit": 0}])
def test_options_out_of_range(tmp_path: Path, options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        FolderDataModule(str(tmp_path), **options)


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
        ("name,x0,y0,x1,y1\nface009.jpg,1,2,3,4\n", "'face009.jpg' in line 2"),
        ("name,x0,y0,x1,y1\n" + 2 * "face000.jpg,1,2,3,4\n", "'face000.jpg' in line 3"),
        ("name,x0,y0,x1,y1\nface000.jpg,70,2,80,4\n", "outside an image of 64×64"),
    ],
)
def test_bad_boxes_are_named(tmp_path: Path, text: str, message: str) -> None:
    write_folder(tmp_path, 3, "unlabelled")
    (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"(boxes\.csv|face000\.jpg): found .*{message}"):
        FolderDataModule(str(tmp_path)).train_faces()


def test_shared_stem(tmp_path: Path) -> None:
    """Two images of one name need a landmark file each, named in full; without landmarks they may share it."""
    write_folder(tmp_path, 2)
    write_face(tmp_path / "face001.png", None)
    with pytest.raises(DataError, match=r"found 2 images of that name.*share face001\.pts.*2 of 3 files"):
        FolderDataModule(str(tmp_path)).train_faces()
    for suffix in ("jpg", "png"):
        write_face(tmp_path / f"face001.{suffix}", tmp_path / f"face001.{suffix}.npy")
        write_face(tmp_path / "u" / f"a.{suffix}", None)
    assert FolderDataModule(str(tmp_path)).train_faces().has_landmarks
    assert len(FolderDataModule(str(tmp_path / "u")).train_faces()) == 2


def test_landmarks_without_image_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "face001.jpg").rename(tmp_path / "face001.psd")
    assert len(FolderDataModule(str(tmp_path)).train_faces()) == 2
    assert "1 landmark files belong to no image, e.g. face001.pts" in caplog.text


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: found no such folder, expected a folder of images"):
        FolderDataModule(str(tmp_path), test_root=str(tmp_path / "gone")).test_faces()
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: found an empty folder"):
        FolderDataModule(str(tmp_path)).train_faces()
    write_folder(tmp_path / "people" / "anna", 1)
    with pytest.raises(DataError, match="people: found no image but anna/"):
        FolderDataModule(str(tmp_path / "people")).train_faces()


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real faces in ../shared/data")
@pytest.mark.parametrize(
    ("name", "counts", "labelled"), [("photos", (3000, 371), True), ("caricatures", (1636, 25), False)]
)
def test_real_faces(name: str, counts: tuple[int, int], labelled: bool) -> None:
    module = FolderDataModule(str(SHARED / name))
    train, test = module.train_faces(), module.test_faces()
    assert (len(train), len(test)) == counts
    assert (train.has_landmarks, test.has_landmarks) == (labelled, True)
