"""Face boxes: the lists they come in, and boxes that cannot be right."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from datamodules.faces import DataError, FloatArray, landmark_box
from datamodules.formats import bad_file, plain_name, read_text, shown

_log = logging.getLogger(__name__)

BOX_COLUMNS: Final = ("name", "x0", "y0", "x1", "y1")

_NAMES: Final = frozenset({"name", "image", "file", "filename", "image_name", "file_name"})
_CORNERS: Final = frozenset(
    {BOX_COLUMNS[1:], ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom")}
)
_SIZES: Final = frozenset({("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height")})
_OBLONG: Final = 1.5
"""Width over height, or its inverse, above which boxes are not around faces as a rule."""
_SQUARE: Final = 1.25
_LARGEST_FRACTION: Final = 2.0
_LEAST_HELD: Final = 0.5
"""Share of the landmarks' own box that the face's box must hold."""
_FEW: Final = 3
_NUMBERS: Final = "four numbers x0,y0,x1,y1 with x0 < x1 and y0 < y1"


def read_boxes(path: Path, names: set[str]) -> dict[str, FloatArray]:
    """Read face boxes ``(x0, y0, x1, y1)`` in image pixels by image name from a CSV; empty if there is no file.

    Args:
        path: CSV with the header ``name,x0,y0,x1,y1``, or another that says as plainly what its columns are, e.g.
            ``name,x,y,w,h``; parted by commas, semicolons or tabs.
        names: the images of the folder.

    Raises:
        DataError: the header or a row is malformed, or a row names an unknown image or one named before.
    """
    if not path.exists():
        return {}
    text = read_text(path, "a CSV of face boxes")
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    known = {plain_name(name): name for name in names}
    found: dict[str, tuple[str, FloatArray]] = {}
    try:
        sizes = _are_sizes(path, next(rows, []))
        for row in filter(None, rows):
            name, where = plain_name(row[0].strip()), f"line {rows.line_num}"
            if name not in known or known[name] in found:
                said = f"{name!r} in {where}, " + ("a second time" if name in known else "which is no image there")
                raise bad_file(path, said, "each image at most once", "Correct that line or take it out.")
            words = [word.replace(",", ".") if delimiter != "," else word for word in row[1:]]
            found[known[name]] = where, _numbers(path, where, words, sizes)
    except csv.Error as error:
        said = f"{error} in line {rows.line_num}"
        raise bad_file(path, said, "a CSV of face boxes", "Write the header and one row per image.") from None
    _check_corners(path, found)
    return {name: box for name, (_, box) in found.items()}


def _are_sizes(path: Path, header: Sequence[str]) -> bool:
    """Whether the last two columns are width and height."""
    columns = tuple(word.strip().lower() for word in header)
    if columns[:1] and columns[0] in _NAMES and columns[1:] in _CORNERS | _SIZES:
        return columns[1:] in _SIZES
    remedy = "Write the header and one row per image (of x, y, width and height: name,x,y,w,h)."
    raise bad_file(path, f"the header {','.join(header)[:100]!r}", repr(",".join(BOX_COLUMNS)), remedy)


def _numbers(path: Path, where: str, words: Sequence[str], sizes: bool) -> FloatArray:
    try:
        x0, y0, x1, y1 = (float(word) for word in words)
    except ValueError:
        x0 = y0 = x1 = y1 = float("nan")
    box = np.array([x0, y0, x1, y1]).clip(-1e9, 1e9)
    if not np.isfinite(box).all():
        raise bad_file(path, f"{','.join(words)[:100]!r} in {where}", _NUMBERS, "Correct that line.")
    box[2:] += box[:2] if sizes else 0
    return box.astype(np.float32)


def _check_corners(path: Path, found: dict[str, tuple[str, FloatArray]]) -> None:
    """Refuse corners in the wrong order; say what they may be instead."""
    if not found:
        return
    boxes = np.stack([box for _, box in found.values()])
    inverted = np.flatnonzero((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1]))
    if len(inverted):
        where, box = list(found.values())[inverted[0]]
        said = f"'{','.join(f'{value:g}' for value in box)}' in {where}" + f", and {len(inverted) - 1} more" * (
            len(inverted) > 1
        )
        turned = (boxes[:, 2:] < boxes[:, :2]).all()
        remedy = "Correct that line" + (", or write the upper left corner first." if turned else "")
        if not turned and (boxes[:, 2:] > 0).all():
            remedy += "; if the numbers are x, y, width and height, write the header name,x,y,w,h."
        raise bad_file(path, said, _NUMBERS, remedy)
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    oblong, square = (np.median(np.abs(np.log(ratio))) for ratio in (widths / heights, _positive(boxes)))
    if len(boxes) >= _FEW and oblong > np.log(_OBLONG) and square < np.log(_SQUARE):
        message = "%s: the boxes are oblong; if their numbers are x, y, width and height, write the header name,x,y,w,h"
        _log.warning(message, shown(path))


def _positive(boxes: FloatArray) -> FloatArray:
    """Third over fourth number, which is about 1 where they are width and height of a face."""
    return np.asarray(boxes[:, 2].clip(1e-6) / boxes[:, 3].clip(1e-6))


def check_box(path: Path, box: FloatArray, width: int, height: int) -> None:
    """Refuse a box that cannot be one of the picture's.

    Args:
        path: of the picture.
        box: ``(x0, y0, x1, y1)``, image pixels.
        width: of the picture, in pixels.
        height: likewise.

    Raises:
        DataError: it is outside the picture, reaches far beyond it, or is given in fractions of it.
    """
    said = f"the box {tuple(round(float(value), 2) for value in box)}"
    if np.abs(box).max() <= _LARGEST_FRACTION and min(width, height) > 2 * _LARGEST_FRACTION:
        remedy = "Multiply its line in boxes.csv by width and height: it may be fractions of the picture."
        raise bad_file(path, f"{said} in an image of {width}×{height} pixels", "a box in pixels", remedy)
    border = max(width, height) / 2
    outside = box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0
    if outside or box.min() < -border or box[2] > width + border or box[3] > height + border:
        where = "outside" if outside else "far beyond"
        found = f"{said} {where} an image of {width}×{height} pixels"
        remedy = "Correct its line in boxes.csv: it may be of another size of the image, or x, y, width and height."
        raise bad_file(path, found, "a box that overlaps the image", remedy)


def check_boxes_hold(name: str, faces: Sequence[tuple[Path, FloatArray, FloatArray]]) -> None:
    """Compare boxes with labels: refuse boxes that miss at least half of the faces, warn of those that miss fewer.

    Args:
        name: of the set, for messages.
        faces: of each that has both: its picture, landmarks ``(68, 2)`` and box, in image pixels.

    Raises:
        DataError: boxes of at least half of the faces, and of two, do not hold them.
    """
    missed = [path for path, landmarks, box in faces if _held(landmark_box(landmarks), box) < _LEAST_HELD]
    if not missed:
        return
    said = (
        f"{name + ': ' if name else ''}the boxes of {len(missed)} of {len(faces)} labelled faces do not hold their "
        f"landmarks, e.g. {shown(missed[0])}"
    )
    if len(missed) < 2 or 2 * len(missed) < len(faces):
        _log.warning("%s", said)
        return
    raise DataError(
        f"{said}; expected boxes around the faces. Correct boxes.csv: if its numbers are x, y, width and height, write "
        "the header name,x,y,w,h."
    )


def _held(inner: FloatArray, outer: FloatArray) -> float:
    """Share of a box's area that is within another."""
    low, high = np.maximum(inner[:2], outer[:2]), np.minimum(inner[2:], outer[2:])
    return float(np.prod((high - low).clip(0)) / max(float(np.prod(inner[2:] - inner[:2])), 1e-9))
