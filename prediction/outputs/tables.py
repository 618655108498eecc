"""All faces in one JSON file, and in one CSV file."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datamodules.ibug68 import NUM_LANDMARKS
from prediction.faces import PredictedFace
from prediction.outputs.base import Record, write_whole

_DIGITS: Final = 3
"""Of pixels: a thousandth."""
FACE_COLUMNS: Final = (
    *("score", "doubt"),
    *(f"{of}_{corner}" for of in ("detected", "box") for corner in ("x0", "y0", "x1", "y1")),
    *(f"{axis}{number}" for number in range(NUM_LANDMARKS) for axis in "xyu"),
)
"""The columns of a face in every table, see :func:`face_row`."""


class JsonOutput:
    """``predictions.json``: ``{"about": {...}, "pictures": [...]}``, in the order of the pictures.

    A picture is ``{"file", "width", "height", "faces"}``, or ``{"file", "problem", "faces": []}`` where it could not be
    read. A face is ``{"name", "score", "doubt", "detected", "box", "landmarks", "uncertainty"}``: pixels of the upright
    picture, counted from 0. What is not known is null.

    Args:
        folder: to write to.
        about: how the faces were found.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._path, self._about = folder / "predictions.json", dict(about)
        self._pictures: list[tuple[int, dict[str, Any]]] = []

    def add(self, record: Record) -> None:
        """Keep a picture's faces."""
        self._pictures.append((record.result.number, picture_as_dict(record)))

    def close(self) -> None:
        """Write the file."""
        pictures = [content for _, content in sorted(self._pictures, key=lambda pair: pair[0])]
        text = json.dumps({"about": self._about, "pictures": pictures}, allow_nan=False, ensure_ascii=False)
        # A byte of a file's name that is not UTF-8 becomes \udcXX, which is JSON's own way to write it.
        write = partial(Path.write_text, data=text + "\n", encoding="utf-8", errors="backslashreplace")
        write_whole(self._path, write)


def picture_as_dict(record: Record) -> dict[str, Any]:
    """A picture as :class:`JsonOutput` writes it."""
    result = record.result
    if result.image is None:
        return {"file": str(result.path), "problem": str(result.problem), "faces": []}
    height, width = result.image.shape[:2]
    faces = [face_as_dict(face, name) for face, name in zip(result.faces, record.names, strict=True)]
    return {"file": str(result.path), "width": width, "height": height, "faces": faces}


def face_as_dict(face: PredictedFace, name: str) -> dict[str, Any]:
    """A face as :class:`JsonOutput` writes it; NaN becomes None."""
    return {
        "name": name,
        "score": _number(face.score),
        "doubt": _number(face.doubt),
        "detected": _numbers(face.detected),
        "box": _numbers(face.box),
        "landmarks": [_numbers(point) for point in face.landmarks],
        "uncertainty": _numbers(face.uncertainty),
    }


def face_row(face: PredictedFace) -> list[float | None]:
    """A face's values under :data:`FACE_COLUMNS`; NaN becomes None."""
    points = np.column_stack([face.landmarks, face.uncertainty]).ravel()
    return _numbers(np.array([face.score, face.doubt, *face.detected, *face.box, *points]))


def _numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None


class CsvOutput:
    """``predictions.csv``: a row for each face, its landmarks as ``x0,y0,u0`` to ``x67,y67,u67``.

    ``u`` is a landmark's uncertainty. A picture without a face has a row without numbers. Pixels count from 0; what is
    not known is empty.

    Args:
        folder: to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "predictions.csv"
        self._rows: list[tuple[int, list[Any]]] = []

    def add(self, record: Record) -> None:
        """Keep a picture's rows."""
        rows = list(self._faces(record)) or [[str(record.result.path)]]
        self._rows += [(record.result.number, row) for row in rows]

    @staticmethod
    def _faces(record: Record) -> Iterator[list[Any]]:
        for face, name in zip(record.result.faces, record.names, strict=True):
            yield [str(record.result.path), name, *face_row(face)]

    def close(self) -> None:
        """Write the file."""
        header = ["file", "face", *FACE_COLUMNS]
        rows = [row + [""] * (len(header) - len(row)) for _, row in sorted(self._rows, key=lambda pair: pair[0])]

        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                csv.writer(file).writerows([header, *rows])

        write_whole(self._path, write)
