import logging
from pathlib import Path

import numpy as np
import pytest

from datamodules.checks.boxes import read_boxes
from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError, landmark_box
from tests.layouts import face_landmarks, write_folder

NAMES = {"a.jpg", "b.jpg", "é.jpg"}
BOX = [1.5, 2, 31.5, 42]


@pytest.mark.parametrize(
    "text",
    [
        "name,x0,y0,x1,y1\na.jpg,1.5,2,31.5,42\n",
        "name,x,y,w,h\na.jpg,1.5,2,30,40\n",
        "Image;left;top;width;height\na.jpg;1,5;2;30;40\n",
        "filename\txmin\tymin\txmax\tymax\na.jpg\t1.5\t2\t31.5\t42\n",
    ],
)
def test_a_header_says_what_the_columns_are(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    boxes = read_boxes(tmp_path / "boxes.csv", NAMES)
    assert list(boxes) == ["a.jpg"]
    np.testing.assert_array_equal(boxes["a.jpg"], BOX)


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1\ne\u0301.jpg,1,2,3,4\n")
    assert list(read_boxes(tmp_path / "boxes.csv", NAMES)) == ["é.jpg"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,30,20,25,30", r"'30,20,25,30' in line 2.*name,x,y,w,h"),
        ("a.jpg,30,20,5,3", "upper left corner first"),
        ("a.jpg,1,2,3", "four numbers"),
        ("a.jpg,1,2,3,nan", "four numbers"),
        ('a.jpg,1,2,3,"4', "a CSV of face boxes"),
        ("c.jpg,1,2,3,4", "which is no image there"),
        ("a.jpg,1,2,3,4\na.jpg,1,2,3,4", "a second time"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\n{rows}\n")
    with pytest.raises(DataError, match=message):
        read_boxes(tmp_path / "boxes.csv", NAMES)


def test_sizes_under_a_header_of_corners_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{name},5,{k},50,51\n" for k, name in zip((30, 35, 40), sorted(NAMES), strict=True))
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\n{rows}")
    read_boxes(tmp_path / "boxes.csv", NAMES)
    assert "write the header name,x,y,w,h" in caplog.text


def boxed(root: Path, change: object, count: int = 4, layout: str = "npy") -> Path:
    write_folder(root, 4, layout)  # type: ignore[arg-type]
    boxes = [landmark_box(face_landmarks(64, k)) for k in range(4)]
    rows = [change(box) if k < count else box for k, box in enumerate(boxes)]  # type: ignore[operator]
    lines = (f"face{k:03d}.jpg,{','.join(f'{value:g}' for value in row)}\n" for k, row in enumerate(rows))
    (root / "boxes.csv").write_text("name,x0,y0,x1,y1\n" + "".join(lines))
    return root


@pytest.mark.parametrize("layout", ["npy", "unlabelled"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda box: box / 64, "fractions of the picture"),
        (lambda box: box + 64, "outside an image of 64×64 pixels"),
        (lambda box: box * [1, 1, 4, 4], "far beyond an image of 64×64"),
    ],
)
def test_boxes_that_cannot_be_right(tmp_path: Path, change: object, message: str, layout: str) -> None:
    with pytest.raises(DataError, match=message):
        FolderDataModule(str(boxed(tmp_path, change, layout=layout))).train_faces()


def test_boxes_are_compared_with_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    aside = lambda box: [0, 0, 12, 12]  # noqa: E731
    with pytest.raises(DataError, match="boxes of 4 of 4 labelled faces do not hold their landmarks"):
        FolderDataModule(str(boxed(tmp_path / "all", aside))).train_faces()
    with caplog.at_level(logging.WARNING):
        FolderDataModule(str(boxed(tmp_path / "none", lambda box: box))).train_faces()
        assert not caplog.messages
        FolderDataModule(str(boxed(tmp_path / "one", aside, 1))).train_faces()
    assert "boxes of 1 of 4" in caplog.text
