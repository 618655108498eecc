import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets import W300DataModule
from datamodules.faces import DataError
from datamodules.formats import write_pts
from tests.layouts import W300_COUNTS, write_face, write_w300

SMALL = {"afw": 2, "helen/trainset": 3, "lfpw/trainset": 4, "helen/testset": 5, "lfpw/testset": 6, "ibug": 7}


def reader(root: Path, **options: object) -> W300DataModule:
    return W300DataModule(str(root), strict_counts=False, **options)  # type: ignore[arg-type]


def test_full_tree_has_the_counts_of_table_1(tmp_path: Path) -> None:
    module = W300DataModule(str(write_w300(tmp_path, full_counts=True)))
    test = module.test_faces()
    counts = Counter(group for subsets in test.subsets() for group in subsets)
    assert counts == {"300w_full": 689, "300w_common": 554, "300w_challenge": 135}
    assert test.has_landmarks
    # One image short, the strict reader tells which subset; the training split is not concerned.
    removed = tmp_path / "lfpw/testset/image_0007.png"
    removed.unlink()
    removed.with_suffix(".pts").unlink()
    message = r"helen/testset 330 of 330; lfpw/testset 223 of 224 \(differs\); ibug 135 of 135.*strict_counts: false"
    with pytest.raises(DataError, match=message):
        module.test_faces()
    assert len(W300DataModule(str(tmp_path), strict_counts=False).test_faces()) == 688
    train = module.train_faces()
    assert len(train) == 3148
    assert train.has_landmarks
    assert Counter(path.relative_to(tmp_path).parent.as_posix() for path in train.paths) == {
        subset: W300_COUNTS[subset] for subset in ("afw", "helen/trainset", "lfpw/trainset")
    }


def test_splits_and_figures_by_subset(tmp_path: Path) -> None:
    module = reader(write_w300(tmp_path, SMALL))
    train, test = module.train_faces(), module.test_faces()
    assert Counter(path.parent.relative_to(tmp_path).as_posix() for path in [*train.paths, *test.paths]) == SMALL
    assert len(train) == 9
    for path, subsets in zip(test.paths, test.subsets(), strict=True):
        assert set(subsets) == {"300w_full", "300w_challenge" if path.parent.name == "ibug" else "300w_common"}


def test_landmarks_are_zero_based_and_lie_on_their_own_image(tmp_path: Path) -> None:
    faces = reader(write_w300(tmp_path, SMALL)).test_faces()
    face = next(faces[k] for k in range(len(faces)) if faces.paths[k].name == "image_092 _01.jpg")
    expected = write_face(tmp_path / "again.jpg", None, seed=5000)
    np.testing.assert_allclose(face.landmarks, expected, atol=1e-5)
    assert face.image.shape == (64, 64, 3)


def test_mirrored_copies_are_ignored_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        faces = reader(write_w300(tmp_path, SMALL, mirrored=2)).train_faces()
    assert len(faces) == 9
    assert not any("_mirror" in path.name for path in faces.paths)
    assert caplog.text.count("ignored 2 mirrored copies") == 3


def test_junk_is_ignored(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    for name in (".DS_Store", "._x.jpg", "Thumbs.db", "readme.txt", "bounding_boxes.mat"):
        (tmp_path / "ibug" / name).write_bytes(b"junk")
    (tmp_path / "ibug" / "folder.jpg").mkdir()
    assert len(reader(tmp_path).test_faces()) == 18


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    for path in list((tmp_path / "afw").iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
    assert len(reader(tmp_path).train_faces()) == 9


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    write_w300(tmp_path / "disk", SMALL)
    (tmp_path / "300W").mkdir()
    for folder in ("afw", "helen", "lfpw", "ibug"):
        (tmp_path / "300W" / folder).symlink_to(tmp_path / "disk" / folder)
    assert len(reader(tmp_path / "300W").train_faces()) == 9


def test_image_without_landmarks_is_named(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    (tmp_path / "ibug" / "image_092 _01.pts").unlink()
    with pytest.raises(DataError, match=r"ibug/image_092 _01\.jpg: found an image without landmarks, expected .*\.pts"):
        reader(tmp_path).test_faces()
    assert len(reader(tmp_path, on_error="skip").test_faces()) == 17


def test_landmarks_without_image_are_named(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    (tmp_path / "lfpw" / "testset" / "image_0002.png").unlink()
    with pytest.raises(DataError, match=r"lfpw/testset/image_0002\.pts: found landmarks without an image"):
        reader(tmp_path).test_faces()
    assert len(reader(tmp_path, on_error="skip").test_faces()) == 17


def test_two_images_that_share_one_pts_are_named(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    write_face(tmp_path / "lfpw/trainset/image_0001.jpg", None)
    with pytest.raises(DataError, match=r"image_0001\.jpg: found 2 images of that name.*share image_0001\.pts"):
        reader(tmp_path).train_faces()


def test_skip_leaves_bad_files_out_under_strict_counts_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_w300(tmp_path, {subset: W300_COUNTS[subset] for subset in ("helen/testset", "lfpw/testset", "ibug")}, size=16)
    (tmp_path / "ibug" / "image_101.JPG").write_bytes(b"no image")
    (tmp_path / "ibug" / "image_102.pts").write_text("no landmarks")
    faces = W300DataModule(str(tmp_path), on_error="skip").test_faces()
    assert len(faces) == 687
    assert "300W test: skipped 2 of 689 files" in caplog.text


def test_landmarks_of_another_image_are_named(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    write_pts(tmp_path / "ibug" / "image_102.pts", np.full((68, 2), 500, np.float32))
    with pytest.raises(DataError, match=r"image_102\.jpg: found landmark 0 .* at \(500\.0, 500\.0\)"):
        reader(tmp_path).test_faces()


def test_a_missing_subset_is_counted_or_left_out(tmp_path: Path) -> None:
    write_w300(tmp_path, SMALL)
    shutil.rmtree(tmp_path / "afw")
    assert len(reader(tmp_path).train_faces()) == 7
    with pytest.raises(DataError, match=r"afw 0 of 337 \(differs\)"):
        W300DataModule(str(tmp_path)).train_faces()


def test_roots_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="gone: found no such folder, expected the 300W folder with afw"):
        reader(tmp_path / "gone").train_faces()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: found a file, expected the 300W folder"):
        reader(tmp_path / "file").train_faces()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: found an empty folder, expected the 300W folder"):
        reader(tmp_path / "empty").test_faces()
    (tmp_path / "empty" / "CariFace").mkdir()
    with pytest.raises(DataError, match="found no image but CariFace/"):
        reader(tmp_path / "empty").test_faces()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # chmod would not stop a test that runs as root
    with pytest.raises(DataError, match=r"empty: found a folder without read permission.*chmod"):
        reader(tmp_path / "empty").test_faces()


def test_stand_in_has_the_figures(tmp_path: Path) -> None:
    test = reader(tmp_path).stand_in(3).test_faces()
    counts = Counter(group for subsets in test.subsets() for group in subsets)
    assert counts["300w_full"] == len(test) == counts["300w_common"] + counts["300w_challenge"]
    assert counts["300w_common"] > counts["300w_challenge"] > 0
