import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.faces import DataError, Face, FaceSet, FloatArray, JoinedFaces
from datamodules.files import FileFaces, Record, read_face, require_labelled
from datamodules.formats import read_image, write_pts
from datamodules.layout import Entry
from tests.layouts import face_landmarks, write_face, write_folder


def records(root: Path, count: int = 4, labelled: bool = True) -> list[Record]:
    made = []
    for k in range(count):
        path = root / f"{k}.jpg"
        landmarks = write_face(path, None, 64, seed=k)
        made.append(Record(path, landmarks if labelled else None, subsets=(f"g{k % 2}",)))
    return made


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])


def test_faces_are_decoded_with_what_is_known_of_them(tmp_path: Path) -> None:
    box = np.array([1, 2, 50, 60], np.float32)
    made = [*records(tmp_path, 2), Record(write_folder(tmp_path / "u", 1, "unlabelled") / "face000.jpg", None, box)]
    faces = FileFaces(made)
    assert [face.path for face in faces] == [str(record.path) for record in made]
    assert faces.paths == [record.path for record in made]
    np.testing.assert_array_equal(faces[1].image, read_image(made[1].path))
    np.testing.assert_array_equal(faces[1].landmarks, made[1].landmarks)
    np.testing.assert_array_equal(faces[2].box, box)
    assert faces[2].landmarks is None
    assert faces.subsets() == [("g0",), ("g1",), ()]
    assert len(faces.shapes()) == 2
    assert not faces.has_landmarks
    assert FileFaces(made[:2]).has_landmarks


def test_a_changed_face_does_not_change_the_set(tmp_path: Path) -> None:
    faces = FileFaces(records(tmp_path, 1))
    before = faces.shapes()[0].copy()
    landmarks = faces[0].landmarks
    assert landmarks is not None
    landmarks += 100
    np.testing.assert_array_equal(faces.shapes()[0], before)


def test_survives_pickling_for_loader_workers(tmp_path: Path) -> None:
    faces = FileFaces(records(tmp_path, 2))
    assert pickle.loads(pickle.dumps(faces))[1].path == faces[1].path


def test_first_bad_file_is_named_and_all_are_counted(tmp_path: Path) -> None:
    made = records(tmp_path)
    truncate(made[1].path)
    made[3].path.unlink()
    with pytest.raises(DataError, match=r"^set: .*1\.jpg: found .*truncated.*2 of 4 files are bad.*on_error=skip"):
        FileFaces(made, name="set")


def test_skip_drops_bad_files_and_logs_how_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = records(tmp_path, 9)
    for k in (1, 2, 3, 7, 8):
        truncate(made[k].path)
    with caplog.at_level(logging.WARNING):
        faces = FileFaces(made, "skip", "set")
    assert [path.name for path in faces.paths] == ["0.jpg", "4.jpg", "5.jpg", "6.jpg"]
    assert faces.subsets() == [("g0",), ("g0",), ("g1",), ("g0",)]
    (message,) = caplog.messages
    assert "set: skipped 5 of 9 files" in message
    assert all(f"{k}.jpg: found" in message for k in (1, 2, 3))
    assert "and 2 more" in message


def test_nothing_is_logged_where_all_is_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FileFaces(records(tmp_path), "skip")
    assert not caplog.messages


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_set_of_bad_files_only_is_an_error(tmp_path: Path, on_error: str) -> None:
    made = records(tmp_path, 2)
    for record in made:
        truncate(record.path)
    with pytest.raises(DataError, match=r"no usable face among 2 files.*0\.jpg: found"):
        FileFaces(made, on_error)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no usable face among 0 files"):
        FileFaces([], on_error)  # type: ignore[arg-type]


def test_bad_landmark_files_count_like_bad_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 5)
    entries = [Entry(path, path.with_suffix(".pts")) for path in sorted(tmp_path.glob("*.jpg"))]
    truncate(entries[0].path)
    text = (tmp_path / "face003.pts").read_text()
    (tmp_path / "face003.pts").write_text("\n".join(text.splitlines()[:-2]) + "\n}")
    with pytest.raises(DataError, match="2 of 5 files are bad"):
        FileFaces.from_entries(entries)
    faces = FileFaces.from_entries(entries, "skip")
    assert [path.name for path in faces.paths] == ["face001.jpg", "face002.jpg", "face004.jpg"]
    assert "skipped 2 of 5" in caplog.text
    assert "face003.pts: found 67 points" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p + np.array([97, 0]),
            r"landmark \d+ .of 0…67. at .\d+\.\d, \d+\.\d. in an image of 64×64 pixels",
        ),
        (lambda p: p - [0, 97], "landmark .* in an image of 64×64 pixels"),
        (lambda p: p * 4, "landmark .* in an image of 64×64"),
        (lambda p: p * 0 + 5, "eye corners .* are 0 pixels apart"),
        (lambda p: p / 64, "fractions of the image"),
    ],
)
def test_landmarks_that_cannot_belong_to_the_image_are_refused(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    (record,) = records(tmp_path, 1)
    with pytest.raises(DataError, match=rf"0\.jpg: found .*{message}"):
        FileFaces([Record(record.path, change(record.landmarks).astype(np.float32))])


def test_landmarks_half_an_image_beyond_the_border_are_allowed(tmp_path: Path) -> None:
    (record,) = records(tmp_path, 1)
    landmarks = face_landmarks(64)
    landmarks[8] = (95, -32)  # 63 + 32 and 0 - 32
    FileFaces([Record(record.path, landmarks)])
    landmarks[8] = (95.5, 0)
    with pytest.raises(DataError, match=r"landmark 8 \(of 0…67\) at \(95\.5, 0\.0\)"):
        FileFaces([Record(record.path, landmarks)])


def test_a_box_outside_the_image_is_refused(tmp_path: Path) -> None:
    (record,) = records(tmp_path, 1)
    FileFaces([Record(record.path, None, np.array([-5, -5, 10, 90], np.float32))])
    with pytest.raises(DataError, match=r"0\.jpg: found the box \(70\.0, 0\.0, 90\.0, 20\.0\) outside .* 64×64"):
        FileFaces([Record(record.path, None, np.array([70, 0, 90, 20], np.float32))])


def folder_faces(root: Path) -> FileFaces:
    return FileFaces.from_entries([Entry(p, p.with_suffix(".pts")) for p in sorted(root.rglob("*.jpg"))])


def test_fingerprint_keeps_when_the_data_move(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "x")
    write_folder(tmp_path / "a" / "y", seed=10)
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b", copy_function=shutil.copyfile)
    assert folder_faces(tmp_path / "a").fingerprint() == folder_faces(tmp_path / "elsewhere" / "b").fingerprint()


def test_fingerprint_changes_with_names_images_and_landmarks(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", 3)
    prints = [folder_faces(tmp_path / "a").fingerprint()]
    pts = tmp_path / "a" / "face001.pts"
    write_pts(pts, face_landmarks(64, 1) + np.float32(0.01))
    prints.append(folder_faces(tmp_path / "a").fingerprint())
    write_face(tmp_path / "a" / "face001.jpg", None, 64, seed=77)
    prints.append(folder_faces(tmp_path / "a").fingerprint())
    for suffix in (".jpg", ".pts"):
        (tmp_path / "a" / f"face001{suffix}").rename(tmp_path / "a" / f"other{suffix}")
    prints.append(folder_faces(tmp_path / "a").fingerprint())
    (tmp_path / "a" / "other.jpg").unlink()
    prints.append(folder_faces(tmp_path / "a").fingerprint())
    assert len(set(prints)) == 5


class DrawnFaces(FaceSet):
    """A set that is not of files, with every second face unlabelled."""

    def __len__(self) -> int:
        return 6

    @property
    def has_landmarks(self) -> bool:
        return False

    def subsets(self) -> list[tuple[str, ...]]:
        return [()] * 6

    def shapes(self) -> list[FloatArray]:
        return [face_landmarks(8)] * 3

    def fingerprint(self) -> str:
        return "drawn"

    def face(self, index: int) -> Face:
        return Face(np.zeros((8, 8, 3), np.uint8), f"drawn/{index}", None if index % 2 else face_landmarks(8))


def test_require_labelled_names_the_first_without(tmp_path: Path) -> None:
    made = records(tmp_path, 3)
    require_labelled(FileFaces(made), "source")
    mixed = FileFaces([*made[:2], Record(made[2].path)])
    with pytest.raises(DataError, match=r"2\.jpg: found .*\(1 of 3 have none\).*every image of the source.*target"):
        require_labelled(JoinedFaces([FileFaces(made[:2]), mixed][1:]), "source")
    with pytest.raises(DataError, match=r"drawn/1: .*\(3 of 6 have none\).* of the test set"):
        require_labelled(DrawnFaces(), "test set")


def test_a_single_face_is_read_with_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = write_folder(tmp_path, 2, "cariface")  # images/ and landmarks/
    beside = write_face(tmp_path / "photo.jpg", tmp_path / "photo.pts", seed=9)
    for name in ("face000", "face001"):
        face = read_face(apart / "images" / f"{name}.jpg")
        assert face.landmarks is not None
        np.testing.assert_array_equal(face.landmarks, np.load(apart / "landmarks" / f"{name}.jpg.npy"))
    # A folder images/ beside a file does not hide the file's own landmarks.
    found = read_face(tmp_path / "photo.jpg")
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, beside, atol=1e-4)
    np.testing.assert_array_equal(found.image, read_image(tmp_path / "photo.jpg"))
    monkeypatch.chdir(tmp_path / "images")
    inside = read_face("face001.jpg")
    assert inside.landmarks is not None
    assert inside.path == "face001.jpg"


def test_a_single_unlabelled_face_has_its_box(tmp_path: Path) -> None:
    write_face(tmp_path / "x.png", None)
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1\nx.png,4,5,40,50\n")
    face = read_face(tmp_path / "x.png")
    assert face.landmarks is None
    assert face.box is not None
    assert face.box.tolist() == [4, 5, 40, 50]


def test_a_single_bad_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png: found no such file"):
        read_face(tmp_path / "nowhere" / "x.png")
    landmarks = write_face(tmp_path / "x.png", None)
    write_pts(tmp_path / "x.pts", landmarks + 500)
    with pytest.raises(DataError, match="landmarks in or near the image"):
        read_face(tmp_path / "x.png")
