"""Landmarks of one face in a file: ``.pts`` and ``.npy``.

Landmarks are float32 arrays of shape ``(68, 2)`` in image pixels, zero-based. ``.pts`` files, as the 300W challenge
distributes them, count from 1; only this module converts between the two. Other forms of the same labels are read where
they can mean one thing only; where they could mean two, the message says how to write which.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datamodules.faces import FloatArray
from datamodules.formats.reading import bad_file, content_kind, read_bytes, read_text
from datamodules.ibug68 import NUM_LANDMARKS

_LANDMARKS: Final = f"{NUM_LANDMARKS} landmarks (iBUG-68)"
_SAVE: Final = "Save it with numpy.save as a 68×2 array of pixel coordinates."
_FARTHEST: Final = 1e7
"""No picture has as many pixels a side."""

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)
_COMMENT: Final = re.compile(r"(#|//).*")
_DECIMAL_COMMAS: Final = re.compile(r"[-+]?\d+(,\d+)?\s+[-+]?\d+(,\d+)?")
_VISIBILITIES: Final = frozenset({0.0, 1.0, 2.0})

_OTHER_COUNTS: Final = {
    70: "OpenPose's 70 are iBUG's 68 and two pupils: save array[:68].",
    98: "These may be WFLW's 98, which lie elsewhere: annotate again, or predict and correct (warpmark predict).",
    **dict.fromkeys((468, 478), "These may be MediaPipe's mesh, which has no such points: annotate again."),
}

Row = tuple[int, str]
"""The number of a line, counted from 1, and its text."""


def read_pts(path: str | Path) -> FloatArray:
    """Read a ``.pts`` file.

    Numbers may be parted by spaces, commas or semicolons; rows may be numbered, or end with a visibility (0, 1, 2):
    both are left out; ``#`` and ``//`` begin comments; the braces and the header may be missing.

    Args:
        path: a file as in 300W: ``version: 1``, ``n_points: 68``, and 68 lines ``x y`` (counted from 1) in braces.

    Returns:
        Landmarks in image pixels, zero-based, shape ``(68, 2)``.

    Raises:
        DataError: the file cannot be read, or does not hold 68 finite points.
    """
    header, rows = _header_and_rows(path, _pieces(read_text(path, "a .pts file")))
    points = _points(path, rows)
    stated = re.search(r"^n_points\s*:\s*(\d+)\s*$", "\n".join(header), re.MULTILINE | re.IGNORECASE)
    if stated and int(stated[1]) != len(points):
        found = f"{len(points)} points where the header says {stated[1]}"
        raise bad_file(path, found, _LANDMARKS, "The file may be cut off; fetch or write it again.")
    return _checked_landmarks(path, points) - np.float32(1)


def _pieces(text: str) -> list[Row]:
    """What stands in the lines, without comments; braces by themselves."""
    lines = enumerate(text.replace("\u2212", "-").splitlines(), start=1)
    parts = ((number, part.strip()) for number, line in lines for part in re.split("([{}])", _COMMENT.sub("", line)))
    return [(number, part) for number, part in parts if part.strip("\0\x1a")]


def _header_and_rows(path: str | Path, pieces: Sequence[Row]) -> tuple[list[str], list[Row]]:
    texts = [text for _, text in pieces]
    opening, closing = texts.count("{"), texts.count("}")
    if opening == closing == 0:
        first = next((place for place, text in enumerate(texts) if ":" not in text), len(texts))
        return texts[:first], list(pieces[first:])
    if opening != 1 or closing != 1 or texts.index("{") > texts.index("}"):
        found = f"{opening} opening and {closing} closing braces"
        several = opening == closing and opening > 1
        remedy = "Write each face into a file of its own." if several else "It may be cut off: fetch or write it again."
        raise bad_file(path, found, "the points in one pair of braces", remedy)
    first, last = texts.index("{"), texts.index("}")
    return texts[:first], list(pieces[first + 1 : last])


def _points(path: str | Path, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """x and y of each row, shape ``(N, 2)``."""
    if _has_decimal_commas(rows):
        rows = [(number, text.replace(",", ".")) for number, text in rows]
    words = [[word for word in re.split(r"[\s,;]+", text) if word] for _, text in rows]
    width = min(max((len(each) for each in words), default=2), 3)
    # A single row with a third number is a mistake; a column of them says something.
    width = 2 if sum(len(each) == 3 for each in words) < len(words) else width
    for (number, text), each in zip(rows, words, strict=True):
        if len(each) != width or not all(_NUMBER.fullmatch(word) for word in each):
            found = f"{text[:60]!r} in line {number}"
            raise bad_file(path, found, "two numbers, x and y", "Correct that line.")
    table = np.array([[float(word) for word in each] for each in words], np.float64).reshape(-1, width)
    return table if width == 2 else _without_third(path, table)


def _has_decimal_commas(rows: Sequence[Row]) -> bool:
    texts = [text for _, text in rows]
    return any("," in text for text in texts) and all(_DECIMAL_COMMAS.fullmatch(text) for text in texts)


def _without_third(path: str | Path, table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    count = np.arange(len(table))
    if any(np.array_equal(table[:, 0], count + first) for first in (0, 1)):
        return table[:, 1:]
    if set(table[:, 2].tolist()) <= _VISIBILITIES:
        return table[:, :2]
    remedy = "If the first two are x and y of the visible points, take the third column out (3-D jaws are others)."
    raise bad_file(path, "three numbers a line", "two numbers, x and y", remedy)


def write_pts(path: str | Path, landmarks: npt.NDArray[np.floating]) -> None:
    """Write landmarks (image pixels, zero-based, shape ``(68, 2)``) as a ``.pts`` file, which counts from 1."""
    header = f"version: 1\nn_points:  {len(landmarks)}\n{{"
    np.savetxt(path, np.asarray(landmarks, np.float64) + 1, "%.6f", header=header, footer="}", comments="")


def read_npy(path: str | Path) -> FloatArray:
    """Read landmarks from an ``.npy`` file (CariFace's layout): shape ``(68, 2)``, image pixels, zero-based.

    Axes of length 1, as in ``(1, 68, 2)`` and OpenCV's ``(68, 1, 2)``, are left out.

    Raises:
        DataError: the file cannot be read, is not a plain numeric array of that shape, or holds NaN or infinity.
    """
    data = read_bytes(path, "a .npy file")
    try:
        array: Any = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # of damaged files, numpy and zipfile raise what has no common base
        raise bad_file(path, f"no plain .npy array ({_why_not(data, error)})", _LANDMARKS, _SAVE) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = array.dtype if isinstance(array, np.ndarray) else "an archive"
        named = isinstance(array, np.ndarray) and {"x", "y"} <= set(array.dtype.names or ())
        remedy = "Save numpy.stack([array['x'], array['y']], axis=1)." if named else _SAVE
        raise bad_file(path, f"values of type {kind}", "an array of numbers", remedy)
    without_ones = array.squeeze()
    return _checked_landmarks(path, without_ones if without_ones.shape == (NUM_LANDMARKS, 2) else array)


def _why_not(data: bytes, error: Exception) -> str:
    """In words of this project's: numpy advises to read such files in a way that runs the code they may hold."""
    if data.startswith(b"\x93NUMPY"):
        return "it holds Python objects, which could run code" if "Object arrays" in str(error) else str(error)[:100]
    return content_kind(data) or ("text" if data.isascii() else f"{len(data)} bytes of another kind")


def write_npy(path: str | Path, landmarks: npt.NDArray[np.floating]) -> None:
    """Write landmarks (image pixels, zero-based, shape ``(68, 2)``) to exactly ``path``, without adding a suffix."""
    with Path(path).open("wb") as file:
        np.save(file, np.asarray(landmarks, np.float32), allow_pickle=False)


def _checked_landmarks(path: str | Path, array: npt.NDArray[Any]) -> FloatArray:
    if array.ndim == 2 and array.shape[1] == 2 and len(array) != NUM_LANDMARKS:
        remedy = "Only the 68-point iBUG annotation can be used; convert or annotate again."
        raise bad_file(path, f"{len(array)} points", _LANDMARKS, _OTHER_COUNTS.get(len(array), remedy))
    if array.shape != (NUM_LANDMARKS, 2):
        raise bad_file(path, f"an array of shape {array.shape}", "shape (68, 2)", _reshaping(array.shape))
    values = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        x, y = values[bad[0]]
        found = f"({x}, {y}) for landmark {bad[0]} (of 0…67)"
        raise bad_file(path, found, "finite coordinates", "Correct that landmark, or leave the file out.")
    # Within what float32 can hold; a message about the picture's size comes later.
    return values.clip(-_FARTHEST, _FARTHEST).astype(np.float32)


def _reshaping(shape: tuple[int, ...]) -> str:
    """How an array of another shape becomes one of ours; a wrong way scrambles the points."""
    if shape == (2, NUM_LANDMARKS):
        return "Save its transpose, array.T: a row of all x and one of all y; a reshape would scramble the points."
    if np.prod(shape) == 2 * NUM_LANDMARKS and max(shape) == 2 * NUM_LANDMARKS:
        return "Save array.reshape(68, 2) if it is x, y, x, y, …; array.reshape(2, 68).T if all x come first."
    if shape == (NUM_LANDMARKS, 3):
        return "Save array[:, :2] if the first two columns are x and y of the visible points; 3-D jaws are others."
    if shape[-2:] == (NUM_LANDMARKS, 2):
        return "It holds several faces: save each into a file of its own, beside a picture that it belongs to."
    return "Save one row (x, y) for each landmark; a reshape may scramble the points, so look at how it was written."
