"""What the page answers, without a browser: with a stand-in for the landmarker."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.faces import ByteArray, DataError
from datamodules.formats import read_pts
from datamodules.synthetic import face_geometry
from prediction.demo.answers import Demo, Limits, faces_table
from prediction.demo.pictures import PAIRS, SINGLE
from prediction.faces import PredictedFace
from tests.layouts import write_face


def face(shift: float = 0.0, score: float = 0.75, uncertainty: float = 2.0) -> PredictedFace:
    landmarks = face_geometry("photo", 1, 0, 64, 0.2).landmarks.astype(np.float64) + shift
    return PredictedFace(landmarks, np.full(68, uncertainty), np.array([1.0, 2.0, 60.0, 61.5]), score)


def faces_of(image: ByteArray) -> Sequence[PredictedFace]:
    """Two faces, and none in a picture of one colour."""
    return [face(), face(3.25, np.nan, np.nan)] if image.std() > 1 else []


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_face(tmp_path / "a face.png", None, 64, seed=1)
    return tmp_path / "a face.png"


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    (tmp_path / "downloads").mkdir()
    return Demo({"ours": faces_of}, tmp_path / "downloads", Limits(megapixels=0.01))


def test_points_are_read_back_as_they_were_found(demo: Demo, picture: Path, tmp_path: Path) -> None:
    (answer,) = demo.find(picture)
    assert answer.said.startswith("ours: 2 faces, ")
    with zipfile.ZipFile(answer.pts) as archive:
        assert sorted(archive.namelist()) == ["a face_1.pts", "a face_2.pts", "predictions.json"]
        archive.extractall(tmp_path / "zip")
    for number, shift in ((1, 0.0), (2, 3.25)):
        np.testing.assert_allclose(read_pts(tmp_path / f"zip/a face_{number}.pts"), face(shift).landmarks, atol=1e-4)
    assert (tmp_path / "zip/predictions.json").read_bytes() == answer.points.read_bytes()
    told = json.loads(answer.points.read_text())
    assert told["about"] == {"checkpoint": "ours"}
    (one,) = told["pictures"]
    assert (one["file"], one["width"], one["height"]) == ("a face.png", 64, 64)
    first, second = one["faces"]
    np.testing.assert_allclose(first["landmarks"], face().landmarks, atol=1e-3)
    assert (first["name"], first["score"], second["score"]) == ("a face_1", 0.75, None)
    assert first["uncertainty"] == [2.0] * 68


def test_a_single_face_has_the_pictures_name(tmp_path: Path, picture: Path) -> None:
    (answer,) = Demo({"ours": lambda image: [face()]}, tmp_path).find(picture)
    with zipfile.ZipFile(answer.pts) as archive:
        assert "a face.pts" in archive.namelist()


def test_pictures_of_one_name_do_not_meet(demo: Demo, picture: Path) -> None:
    first, second = demo.find(picture)[0], demo.find(picture)[0]
    assert first.pts != second.pts
    assert first.points.exists()
    assert first.points != second.points


def test_checkpoints_answer_side_by_side(tmp_path: Path, picture: Path) -> None:
    both = Demo({"ours": faces_of, "theirs": lambda image: []}, tmp_path).find(picture)
    assert [answer.said.split(",")[0] for answer in both] == ["ours: 2 faces", "theirs: no face"]
    assert both[1].table == ""
    assert json.loads(both[1].points.read_text())["pictures"][0]["faces"] == []


def test_the_table_tells_what_is_not_known() -> None:
    doubtful = face()
    doubtful.uncertainty[36:42] = 9.0
    table = faces_table([doubtful, face(score=np.nan, uncertainty=np.nan)])
    assert table.count("<tr>") == 3
    for said in ("<td>0.75</td>", "<td>left eye</td>", "<td>–</td>", "<td>not told</td>"):
        assert said in table


def test_a_picture_without_a_face(demo: Demo, picture: Path, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (80, 80, 80)).save(tmp_path / "sky.png")
    with pytest.raises(DataError, match=r"^sky.png: found no face, expected at least one"):
        demo.find(tmp_path / "sky.png")
    with pytest.raises(DataError, match=r"^sky.png: found no face"):
        demo.warp(picture, tmp_path / "sky.png", 0.0)
    assert list(demo.folder.iterdir()) == []


def test_bad_files_are_called_by_their_name_alone(demo: Demo, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "nothing.jpg").touch()
    for name in ("cut.png", "text.jpg", "nothing.jpg"):
        with pytest.raises(DataError, match=f"^{name}: found .*expected") as refused:
            demo.find(tmp_path / name)
        assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("size", [(101, 100), (12000, 9000), (20000, 10000)])
def test_large_pictures_are_refused_before_they_are_decoded(demo: Demo, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("1", size).save(tmp_path / "large.png")
    with pytest.raises(DataError, match=r"^large.png: found .*--megapixels"):
        demo.find(tmp_path / "large.png")


def test_the_checkpoint_that_warps_is_chosen(tmp_path: Path, picture: Path) -> None:
    demo = Demo({"ours": faces_of, "blind": lambda image: []}, tmp_path)
    assert demo.warp(picture, picture, 0.0).folded == demo.warp(picture, picture, 0.0, "ours").folded == 0
    with pytest.raises(DataError, match="found no face"):
        demo.warp(picture, picture, 0.0, "blind")


def test_examples_are_drawn_when_they_are_wanted(tmp_path: Path) -> None:
    for example in (*SINGLE, *(one for pair in PAIRS for one in pair)):
        with Image.open(example.write(tmp_path)) as image:
            assert image.size == (384, 384)
    assert [(photo.style, drawing.style != "photo") for photo, drawing in PAIRS] == [("photo", True)] * len(PAIRS)
