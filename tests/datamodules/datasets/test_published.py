"""300W, CariFace and ArtiFace as distributed: splits, counts, and what is wrong with a copy."""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from datamodules.base import FaceDataModule
from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, W300DataModule
from datamodules.face_sets import JoinedFaces
from datamodules.faces import DataError
from datamodules.files import FileFaces
from datamodules.formats import read_pts, write_pts
from datamodules.ibug68 import FRONTAL_TURN, sideways_turn
from tests.layouts import W300_COUNTS, face_landmarks, write_artiface, write_cariface, write_face, write_w300

PAPER_DATA = Path(__file__).parents[3].parent / "shared" / "data" / "paper"

W300_FEW = {"afw": 2, "helen/trainset": 3, "lfpw/trainset": 4, "helen/testset": 5, "lfpw/testset": 6, "ibug": 7}


def w300(root: Path, **options: Any) -> W300DataModule:
    return W300DataModule(str(root), **{"strict_counts": False, **options})


def cariface(root: Path, **options: Any) -> CariFaceDataModule:
    return CariFaceDataModule(str(root), **{"strict_counts": False, **options})


def artiface(root: Path, **options: Any) -> ArtiFaceDataModule:
    return ArtiFaceDataModule(str(root), **{"strict_counts": False, **options})


def names(faces: FileFaces) -> list[str]:
    return [path.name for path in faces.paths]


def numbers(faces: FileFaces) -> list[int]:
    return [int(path.stem) for path in faces.paths]


def subsets(faces: FileFaces) -> dict[str, int]:
    return dict(Counter(name for subsets in faces.subsets() for name in subsets))


@pytest.fixture(scope="module")
def full_cariface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cariface(tmp_path_factory.mktemp("cariface"), full_counts=True, lists=())


class TestW300:
    def test_the_counts_of_table_1(self, tmp_path: Path) -> None:
        module = W300DataModule(str(write_w300(tmp_path, full_counts=True)))
        test = module.test_faces()
        assert subsets(test) == {"300w_full": 689, "300w_common": 554, "300w_challenge": 135}
        assert test.has_landmarks
        # A bad file is among the counted ones.
        (tmp_path / "ibug" / "image_101.JPG").write_bytes(b"no image")
        assert len(w300(tmp_path, strict_counts=True, on_error="skip").test_faces()) == 688
        # One image short, the error tells in which folder; the training split is not concerned.
        removed = tmp_path / "lfpw/testset/image_0007.png"
        removed.unlink()
        removed.with_suffix(".pts").unlink()
        message = r"helen/testset 330 of 330; lfpw/testset 223 of 224 \(differs\).*data\.strict_counts=false"
        with pytest.raises(DataError, match=message):
            module.test_faces()
        train = module.train_faces()
        assert train.has_landmarks
        assert Counter(path.relative_to(tmp_path).parent.as_posix() for path in train.paths) == {
            folder: W300_COUNTS[folder] for folder in ("afw", "helen/trainset", "lfpw/trainset")
        }

    def test_splits_and_subsets_by_folder(self, tmp_path: Path) -> None:
        module = w300(write_w300(tmp_path, W300_FEW))
        train, test = module.train_faces(), module.test_faces()
        folders = Counter(path.parent.relative_to(tmp_path).as_posix() for path in [*train.paths, *test.paths])
        assert folders == W300_FEW
        assert len(train) == 9
        for path, in_subsets in zip(test.paths, test.subsets(), strict=True):
            assert set(in_subsets) == {"300w_full", f"300w_{'challenge' if 'ibug' in path.parts else 'common'}"}
        face = test[names(test).index("image_092 _01.jpg")]
        np.testing.assert_allclose(face.landmarks, face_landmarks(64, 5000), atol=1e-5)
        shutil.rmtree(tmp_path / "afw")
        assert len(module.train_faces()) == 7

    @pytest.mark.parametrize(("gone", "left"), [(("ibug",), "common"), (("helen", "lfpw"), "challenge")])
    def test_a_part_is_not_called_the_whole(self, gone: tuple[str, ...], left: str, tmp_path: Path) -> None:
        root = write_w300(tmp_path, W300_FEW)
        for folder in gone:
            shutil.rmtree(root / folder / ("" if folder == "ibug" else "testset"))
        assert set(subsets(w300(root).test_faces())) == {f"300w_{left}"}

    def test_what_does_not_belong_is_ignored(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        disk = write_w300(tmp_path / "disk", W300_FEW)
        for suffix in (".jpg", ".pts"):
            shutil.copy(disk / f"helen/trainset/10000_1{suffix}", disk / f"helen/trainset/10000_1_mirror{suffix}")
        for name in (".DS_Store", "._x.jpg", "Thumbs.db", "readme.txt", "bounding_boxes.mat"):
            (disk / "afw" / name).write_bytes(b"junk")
        (disk / "afw" / "folder.jpg").mkdir()
        for path in list((disk / "lfpw/trainset").iterdir()):
            path.rename(path.with_suffix(path.suffix.upper()))
        # The folders are links, as when the parts lie on several disks.
        (tmp_path / "300W").mkdir()
        for folder in ("afw", "helen", "lfpw"):
            (tmp_path / "300W" / folder).symlink_to(disk / folder)
        with caplog.at_level(logging.INFO):
            assert len(w300(tmp_path / "300W").train_faces()) == 9
        assert "ignored 1 mirrored copies" in caplog.text

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda ibug: (ibug / "image_092 _01.pts").unlink(), r"092 _01\.jpg: found an image without landmarks"),
            (lambda ibug: (ibug / "image_101.JPG").unlink(), r"image_101\.pts: found landmarks without an image"),
            (lambda ibug: (ibug / "image_101.JPG").write_bytes(b"no image"), r"image_101\.JPG: found 8 bytes"),
            (lambda ibug: (ibug / "image_101.pts").write_text("none"), r"image_101\.pts: found 'none' in line 1"),
            (lambda ibug: write_face(ibug / "image_101.png", None), r"\d\.(png|JPG): found 2 images of that name"),
            (
                lambda ibug: write_pts(ibug / "image_102.pts", np.full((68, 2), 500, np.float32)),
                r"image_102\.jpg: found landmark 0 .* at \(500\.0, 500\.0\)",
            ),
        ],
    )
    def test_bad_files_are_named_or_skipped(
        self, tmp_path: Path, spoil: Callable[[Path], object], message: str
    ) -> None:
        spoil(write_w300(tmp_path, W300_FEW) / "ibug")
        with pytest.raises(DataError, match=message):
            w300(tmp_path).test_faces()
        assert len(w300(tmp_path, on_error="skip").test_faces()) == 17


class TestFrontalList:
    """``frontal_train_list.txt`` as published: file names without folders, Windows' line ends, LFPW's as .png."""

    def listed(self, root: Path, *lines: str) -> list[str]:
        (root / "frontal_train_list.txt").write_bytes("\r\n".join(lines).encode())
        faces = w300(root).train_faces()
        return [faces.paths[place].relative_to(root).as_posix() for place in faces.frontal()]

    def test_names_stand_for_photos_of_any_suffix(self, tmp_path: Path) -> None:
        write_w300(tmp_path)
        for suffix in (".jpg", ".pts"):  # LFPW's photos compressed, as some copies have them
            (tmp_path / "lfpw/trainset/image_0002").with_suffix(suffix).unlink(missing_ok=True)
        write_face(tmp_path / "lfpw/trainset/image_0002.jpg", tmp_path / "lfpw/trainset/image_0002.pts")
        (tmp_path / "lfpw/trainset/image_0002.png").unlink()
        found = self.listed(tmp_path, "1051618982_1.jpg", "image_0002.png", "10001_1.jpg")
        assert found == ["afw/1051618982_1.jpg", "helen/trainset/10001_1.jpg", "lfpw/trainset/image_0002.jpg"]

    def test_a_test_photo_of_the_same_name_is_not_meant(self, tmp_path: Path) -> None:
        module = w300(write_w300(tmp_path))
        assert self.listed(tmp_path, "image_0001.png") == ["lfpw/trainset/image_0001.png"]
        assert all(entry.frontal is None for entry in module.test_faces().entries)

    def test_a_name_with_a_folder_is_meant_there(self, tmp_path: Path) -> None:
        write_w300(tmp_path)
        for image in ("afw/image_0001.jpg", "lfpw/trainset/image_0001.png"):
            write_face(tmp_path / image, (tmp_path / image).with_suffix(".pts"))
        assert self.listed(tmp_path, "image_0001.jpg") == ["afw/image_0001.jpg", "lfpw/trainset/image_0001.png"]
        for line in ("lfpw/trainset/image_0001.png", "lfpw\\trainset\\image_0001.png", "trainset/image_0001.png"):
            assert self.listed(tmp_path, line) == ["lfpw/trainset/image_0001.png"]

    def test_names_without_a_photo_are_logged(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_w300(tmp_path)
        caplog.set_level(logging.INFO)
        found = self.listed(tmp_path, *(f"gone{k}.jpg" for k in range(7)), "10000_1.jpg")
        assert found == ["helen/trainset/10000_1.jpg"]
        assert "no training photo for 7 of its 8 names: gone0.jpg, gone1.jpg, gone2.jpg, gone3.jpg, gone4.jpg, ..." in (
            caplog.text
        )

    def test_a_list_of_other_photos_is_refused(self, tmp_path: Path) -> None:
        write_w300(tmp_path)
        with pytest.raises(DataError, match=r"frontal_train_list\.txt.*2 names, none of them of a training photo"):
            self.listed(tmp_path, "a.jpg", "b.jpg")

    @pytest.mark.parametrize("line", ["/", ".", "..", "\\", "afw/.."])
    def test_a_line_that_names_no_file_is_refused(self, tmp_path: Path, line: str) -> None:
        write_w300(tmp_path)
        with pytest.raises(DataError, match=r"frontal_train_list\.txt: found '.*' in line 2, which names no file"):
            self.listed(tmp_path, "10000_1.jpg", line)

    def test_without_a_list_pose_decides(self, tmp_path: Path) -> None:
        write_w300(tmp_path)
        aside = read_pts(tmp_path / "helen/trainset/10001_1.pts")
        aside[30] += 0.2 * (aside[16] - aside[0])
        write_pts(tmp_path / "helen/trainset/10001_1.pts", aside)
        faces = w300(tmp_path).train_faces()
        expected = [k for k, shape in enumerate(faces.shapes()) if sideways_turn(shape) <= FRONTAL_TURN]
        assert faces.frontal() == expected
        assert {path.name for path in faces.paths} - {faces.paths[k].name for k in expected} == {"10001_1.jpg"}

    def test_a_bad_photo_that_is_skipped_moves_no_place(self, tmp_path: Path) -> None:
        write_w300(tmp_path)
        (tmp_path / "frontal_train_list.txt").write_text("10002_1.jpg\n")
        (tmp_path / "afw/1051618982_1.jpg").write_bytes(b"no image")
        faces = w300(tmp_path, on_error="skip").train_faces()
        assert [faces.paths[place].name for place in faces.frontal()] == ["10002_1.jpg"]
        # And a set before it moves all.
        assert JoinedFaces([faces, faces]).frontal() == [faces.frontal()[0], len(faces) + faces.frontal()[0]]

    @pytest.mark.skipif(not PAPER_DATA.exists(), reason="the real 300W is not here")
    def test_the_real_list(self, caplog: pytest.LogCaptureFixture) -> None:
        """1,001 names, of which 631 are here: 75 of AFW, 364 of Helen, 192 of LFPW (by hand, with a shell)."""
        caplog.set_level(logging.INFO)
        faces = w300(PAPER_DATA / "300W").train_faces()
        found = Counter(faces.paths[place].parent.name for place in faces.frontal())
        assert found == {"afw": 75, "trainset": 364 + 192}
        assert "no training photo for 370 of its 1001 names" in caplog.text


class TestCariFace:
    def test_without_lists_the_last_800_names_are_the_test(self, full_cariface: Path) -> None:
        module = cariface(full_cariface, strict_counts=True)
        train, test = module.train_faces(), module.test_faces()
        assert (len(train), len(test)) == (7000, 800)
        assert test.paths[0].name == "07001.jpg"
        assert not set(train.paths) & set(test.paths)

    def test_with_lists_any_number_is_trained_on(self, full_cariface: Path, tmp_path: Path) -> None:
        for folder in ("images", "landmarks"):
            (tmp_path / folder).symlink_to(full_cariface / folder)
        train = [f"{k:05d}.jpg" for k in range(1, 7000, 2)][:3372]
        test = [f"{k:05d}.jpg" for k in range(2, 1602, 2)]
        (tmp_path / "train_list.txt").write_text("\n".join(train))
        (tmp_path / "test_list.txt").write_text("\r\n".join(test))
        module = cariface(tmp_path, strict_counts=True)
        assert names(module.train_faces()) == train
        assert names(module.test_faces()) == test

    def test_other_counts_are_told(self, full_cariface: Path, tmp_path: Path) -> None:
        (tmp_path / "landmarks").symlink_to(full_cariface / "landmarks")
        shutil.copytree(full_cariface / "images", tmp_path / "images", copy_function=os.link)
        (tmp_path / "images" / "00001.jpg").unlink()
        with pytest.raises(DataError, match=r"train 6999 of 7000 \(differs\); test 800 of 800"):
            cariface(tmp_path, strict_counts=True).test_faces()

    def test_one_list_alone(self, tmp_path: Path) -> None:
        write_cariface(tmp_path, lists=["test"])
        assert len(cariface(tmp_path).train_faces()) == 6
        (tmp_path / "test_list.txt").unlink()
        with pytest.raises(DataError, match=r"found no image in the training split.*Write train_list\.txt"):
            cariface(tmp_path).train_faces()
        (tmp_path / "train_list.txt").write_text("00001.jpg\n")
        with pytest.raises(DataError, match="1 images in both the training and the test split"):
            cariface(tmp_path).train_faces()  # of ten images, all are among the last 800

    @pytest.mark.parametrize("labelled", [True, False])
    def test_training_images_need_no_landmarks_but_test_images_do(self, tmp_path: Path, labelled: bool) -> None:
        write_cariface(tmp_path, labelled_train=labelled)
        train, test = cariface(tmp_path).train_faces(), cariface(tmp_path).test_faces()
        assert (len(train), train.has_landmarks) == (6, labelled)
        np.testing.assert_array_equal(test.shapes(), [face_landmarks(64, k) for k in range(6, 10)])
        (tmp_path / "landmarks" / "00008.jpg.npy").unlink()
        with pytest.raises(DataError, match=r"00008\.jpg: found an image without landmarks"):
            cariface(tmp_path).test_faces()
        assert len(cariface(tmp_path, on_error="skip").test_faces()) == 3

    def test_lists_that_cannot_be_right(self, tmp_path: Path) -> None:
        write_cariface(tmp_path)
        path = tmp_path / "train_list.txt"
        path.write_text("00001.jpg\n\nnone.jpg\n00002.jpg\n")
        with pytest.raises(DataError, match=r"train_list\.txt: found 'none\.jpg' in line 3, expected names of images"):
            cariface(tmp_path).train_faces()
        assert names(cariface(tmp_path, on_error="skip").train_faces()) == ["00001.jpg", "00002.jpg"]
        path.write_text("00001.jpg\n00009.jpg\n")
        with pytest.raises(DataError, match=r"1 images in both the training and the test split, e\.g\. 00009\.jpg"):
            cariface(tmp_path).test_faces()


class TestArtiFace:
    @pytest.mark.parametrize("landmarks", ["npy", "pts"])
    def test_the_counts_of_table_1(self, tmp_path: Path, landmarks: Literal["npy", "pts"]) -> None:
        write_artiface(tmp_path, full_counts=True, landmarks=landmarks)
        module = artiface(tmp_path, strict_counts=True)
        train, test = module.train_faces(), module.test_faces()
        assert len(train) == 128
        assert numbers(test) == list(range(5, 161, 5))
        assert train.has_landmarks
        whole = artiface(tmp_path, strict_counts=True, test="all").test_faces()
        assert numbers(whole) == list(range(1, 161))
        assert subsets(whole) == {"artiface": 160}

    def test_both_forms_of_landmarks_agree(self, tmp_path: Path) -> None:
        npy = artiface(write_artiface(tmp_path / "npy")).test_faces()
        pts = artiface(write_artiface(tmp_path / "pts", landmarks="pts")).test_faces()
        np.testing.assert_allclose(npy.shapes(), pts.shapes(), atol=1e-5)

    def test_without_lists_the_last_by_number_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        module = artiface(write_artiface(tmp_path, full_counts=True, lists=()), strict_counts=True)
        module.test = "all"
        assert len(module.test_faces()) == 160
        assert not caplog.messages
        module.test = "listed"
        assert numbers(module.test_faces()) == list(range(129, 161))
        assert "not the published split" in caplog.text
        assert numbers(module.train_faces()) == list(range(1, 129))
        module.test = "all"
        module.train_faces()
        assert "training on images of the test set" in caplog.text

    @pytest.mark.parametrize("given", ["train", "test"])
    def test_one_list_leaves_the_rest_to_the_other(self, tmp_path: Path, given: Literal["train", "test"]) -> None:
        both, one = artiface(write_artiface(tmp_path / "both")), artiface(write_artiface(tmp_path / "one", [given]))
        assert numbers(one.train_faces()) == numbers(both.train_faces())
        assert set(numbers(one.test_faces())) == set(numbers(both.test_faces()))

    def test_other_counts_are_told(self, tmp_path: Path) -> None:
        write_artiface(tmp_path)
        with pytest.raises(DataError, match=r"train 6 of 128 \(differs\); test 4 of 32 \(differs\)"):
            artiface(tmp_path, strict_counts=True).test_faces()
        with pytest.raises(DataError, match=r"images 10 of 160 \(differs\)"):
            artiface(tmp_path, strict_counts=True, test="all").test_faces()


@pytest.mark.parametrize("reader", [w300, cariface, artiface])
def test_roots_that_are_none(
    tmp_path: Path, reader: Callable[[Path], FaceDataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="gone: found no such folder, expected the"):
        reader(tmp_path / "gone").train_faces()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: found a file, expected the"):
        reader(tmp_path / "file").train_faces()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: found an empty folder"):
        reader(tmp_path / "empty").test_faces()
    (tmp_path / "empty" / "elsewhere").mkdir()
    with pytest.raises(DataError, match="found no image but elsewhere/"):
        reader(tmp_path / "empty").test_faces()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # chmod would not stop a test that runs as root
    with pytest.raises(DataError, match=r"empty: found a folder without read permission.*chmod"):
        reader(tmp_path / "empty").test_faces()


@pytest.mark.parametrize(
    ("reader", "shares"),
    [
        (w300, {"300w_full": 64, "300w_common": 51, "300w_challenge": 13}),
        (cariface, {"cariface": 64}),
        (artiface, {"artiface": 64}),
    ],
)
def test_stand_ins_are_in_the_same_subsets(
    tmp_path: Path, reader: Callable[[Path], FaceDataModule], shares: dict[str, int]
) -> None:
    assert subsets(reader(tmp_path).stand_in(3).test_faces()) == shares
