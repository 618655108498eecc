import logging
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.faces import DataError, FloatArray
from datamodules.files import FileFaces, read_face, require_labelled
from datamodules.formats import read_image, write_npy, write_pts
from datamodules.layout import Entry
from tests.datamodules.test_faces import faces as drawn_faces
from tests.layouts import face_landmarks, write_face, write_folder


def entries(root: Path, count: int = 4, labelled: bool = True) -> list[Entry]:
    write_folder(root, count, "npy" if labelled else "unlabelled")
    paths = [root / f"face{k:03d}.jpg" for k in range(count)]
    return [
        Entry(path, path.with_suffix(".npy") if labelled else None, subsets=(f"g{k % 2}",))
        for k, path in enumerate(paths)
    ]


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])


def test_faces_are_decoded_with_what_is_known_of_them(tmp_path: Path) -> None:
    box = np.array([1, 2, 50, 60], np.float32)
    (unlabelled,) = entries(tmp_path / "u", 1, labelled=False)
    made = [*entries(tmp_path, 2), replace(unlabelled, box=box, subsets=())]
    faces = FileFaces(made)
    assert [face.path for face in faces] == [str(entry.path) for entry in made]
    assert faces.paths == [entry.path for entry in made]
    np.testing.assert_array_equal(faces[1].image, read_image(made[1].path))
    np.testing.assert_array_equal(faces[1].landmarks, face_landmarks(64, 1))
    np.testing.assert_array_equal(faces[2].box, box)
    assert faces[2].landmarks is None
    assert faces.subsets() == [("g0",), ("g1",), ()]
    assert len(faces.shapes()) == 2
    assert not faces.has_landmarks
    assert FileFaces(made[:2]).has_landmarks
    # It goes to loader workers, and what they do to a face does not change the set.
    again = pickle.loads(pickle.dumps(faces))[1].landmarks
    again += 100
    faces[1].landmarks[:] = 0
    np.testing.assert_array_equal(faces.shapes()[1], face_landmarks(64, 1))


def test_bad_files_are_named_and_counted_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bad images, bad landmark files and problems of the layout alike."""
    made = entries(tmp_path, 9)
    truncate(made[1].path)
    made[2].path.unlink()
    np.save(tmp_path / "face003.npy", np.zeros((67, 2)))
    made[7] = replace(made[7], problem=DataError("face007.jpg: found no hope"))
    with pytest.raises(
        DataError, match=r"^set: .*face001\.jpg: found .*truncated.*4 of 9 files are bad.*on_error=skip"
    ):
        FileFaces(made, name="set")
    faces = FileFaces(made, "skip", "set")
    assert [int(path.stem[-3:]) for path in faces.paths] == [0, 4, 5, 6, 8]
    assert faces.subsets() == [("g0",), ("g0",), ("g1",), ("g0",), ("g0",)]
    np.testing.assert_array_equal(faces[4].landmarks, face_landmarks(64, 8))
    (message,) = caplog.messages
    assert "set: skipped 4 of 9 files" in message
    for found in ("face001.jpg: found", "face002.jpg: found", "face003.npy: found 67 points", "and 1 more"):
        assert found in message


def test_nothing_is_logged_where_all_is_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        FileFaces(entries(tmp_path), "skip")
    assert not caplog.messages


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("count", [0, 2])
def test_a_set_without_a_good_file_is_an_error(tmp_path: Path, on_error: str, count: int) -> None:
    made = entries(tmp_path, count)
    for entry in made:
        truncate(entry.path)
    with pytest.raises(DataError, match=f"no usable face among {count} files" + r".*face000\.jpg: found" * (count > 0)):
        FileFaces(made, on_error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p - [-97, 0], r"landmark \d+ .of 0…67. at .\d+\.\d, \d+\.\d. in an image of 64×64 pixels"),
        (lambda p: p - [0, 97], "landmark .* in an image of 64×64"),
        (lambda p: p * 4, "landmark .* in an image of 64×64"),
        (lambda p: np.where(np.arange(68)[:, None] == 8, (95.5, 0.0), p), r"landmark 8 .* at \(95\.5, 0\.0\)"),
        (lambda p: p * 0 + 5, "eye corners .* are 0 pixels apart"),
        (lambda p: p / 64, "fractions of the picture"),
    ],
)
def test_landmarks_that_cannot_belong_to_the_image_are_refused(
    tmp_path: Path, change: Callable[[FloatArray], FloatArray], message: str
) -> None:
    (entry,) = entries(tmp_path, 1)
    write_npy(tmp_path / "face000.npy", change(face_landmarks(64)))
    with pytest.raises(DataError, match=rf"face000\.jpg: found .*{message}"):
        FileFaces([entry])
    landmarks = face_landmarks(64)
    landmarks[8] = (95, -32)  # half an image beyond the border, 63 + 32 and 0 - 32, is allowed
    write_npy(tmp_path / "face000.npy", landmarks)
    assert len(FileFaces([entry])) == 1


def test_a_box_outside_the_image_is_refused(tmp_path: Path) -> None:
    (entry,) = entries(tmp_path, 1, labelled=False)
    FileFaces([replace(entry, box=np.array([-5, -5, 10, 90], np.float32))])
    with pytest.raises(DataError, match=r"000\.jpg: found the box \(70\.0, 0\.0, 90\.0, 20\.0\) outside .* 64×64"):
        FileFaces([replace(entry, box=np.array([70, 0, 90, 20], np.float32))])


def fingerprint(root: Path) -> str:
    return FileFaces([Entry(p, p.with_suffix(".pts")) for p in sorted(root.rglob("*.jpg"))]).fingerprint()


def test_fingerprint_changes_with_names_images_and_landmarks_but_not_with_the_place(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "x", seed=9)
    prints = [fingerprint(write_folder(tmp_path / "a", 3))]
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b", copy_function=shutil.copyfile)
    assert fingerprint(tmp_path / "elsewhere") == prints[0]
    tmp_path /= "a"
    write_pts(tmp_path / "face001.pts", face_landmarks(64, 1) + np.float32(0.01))
    prints.append(fingerprint(tmp_path))
    write_face(tmp_path / "face001.jpg", None, seed=77)
    prints.append(fingerprint(tmp_path))
    for suffix in (".jpg", ".pts"):
        (tmp_path / f"face001{suffix}").rename(tmp_path / f"other{suffix}")
    prints.append(fingerprint(tmp_path))
    (tmp_path / "other.jpg").unlink()
    prints.append(fingerprint(tmp_path))
    assert len(set(prints)) == 5


def test_require_labelled_names_the_first_without(tmp_path: Path) -> None:
    made = entries(tmp_path, 3)
    require_labelled(FileFaces(made), "source")
    mixed = FileFaces([*made[:2], replace(made[2], landmark_file=None)])
    with pytest.raises(DataError, match=r"face002\.jpg: .*\(1 of 3 have none\).*every image of the source.*target"):
        require_labelled(mixed, "source")
    with pytest.raises(DataError, match=r"face0: .*\(3 of 3 have none\).* of the test set"):
        require_labelled(drawn_faces(3, labelled=False), "test set")


class TestReadFace:
    def test_landmarks_lie_beside_the_image_or_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_folder(tmp_path, 2, "cariface")  # images/ and landmarks/
        write_face(tmp_path / "photo.jpg", tmp_path / "photo.pts", seed=9)
        for k in (0, 1):
            face = read_face(tmp_path / f"images/face00{k}.jpg")
            np.testing.assert_array_equal(face.landmarks, face_landmarks(64, k))
        # A folder images/ beside a file does not hide the file's own landmarks.
        found = read_face(tmp_path / "photo.jpg")
        np.testing.assert_allclose(found.landmarks, face_landmarks(64, 9), atol=1e-4)
        np.testing.assert_array_equal(found.image, read_image(tmp_path / "photo.jpg"))
        monkeypatch.chdir(tmp_path / "images")
        inside = read_face("face001.jpg")
        assert inside.landmarks is not None
        assert inside.path == "face001.jpg"

    def test_an_unlabelled_face_has_its_box(self, tmp_path: Path) -> None:
        write_face(tmp_path / "x.png", None)
        (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1\nx.png,4,5,40,50\n")
        face = read_face(tmp_path / "x.png")
        assert face.landmarks is None
        np.testing.assert_array_equal(face.box, [4, 5, 40, 50])

    def test_a_bad_face_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"x\.png: found no such file"):
            read_face(tmp_path / "nowhere" / "x.png")
        write_pts(tmp_path / "x.pts", write_face(tmp_path / "x.png", None) + 500)
        with pytest.raises(DataError, match="landmarks in or near the image"):
            read_face(tmp_path / "x.png")
