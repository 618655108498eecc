"""What the page answers: pictures in, landmarks drawn, told and saved, or an error in words. No browser is needed."""

import html
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from datamodules.faces import ByteArray, DataError
from datamodules.formats import write_pts
from datamodules.ibug68 import PARTS
from prediction.demo.drawing import draw_doubts, relative_uncertainty
from prediction.demo.pictures import read_upload
from prediction.demo.warping import Warped, warp_onto
from prediction.faces import PredictedFace
from prediction.outputs.base import Names, Record, describe
from prediction.outputs.tables import JsonOutput
from prediction.pictures import PictureFaces

Finder = Callable[[ByteArray], Sequence[PredictedFace]]
"""Finds the faces of a picture (RGB, uint8, shape ``(H, W, 3)``), best first."""

_JSON: Final = "predictions.json"
_HEAD: Final = ("face", "score", "eyes apart", "uncertainty", "least sure of")
"""Columns of the table of faces."""


@dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
        megabytes: the largest file.
        megapixels: the largest picture.
    """

    megabytes: float = 20.0
    megapixels: float = 50.0


@dataclass(frozen=True)
class Answer:
    """Landmarks that one checkpoint finds on a picture.

    Attributes:
        drawn: the picture with them, RGB, uint8.
        said: by which checkpoint, how many faces, in what time.
        table: of the faces, HTML.
        pts: zip of a ``.pts`` file for each face, and ``predictions.json``.
        points: that JSON file by itself, as ``warpmark predict`` writes it.
    """

    drawn: ByteArray
    said: str
    table: str
    pts: Path
    points: Path


class Demo:
    """What is behind the page.

    Args:
        finders: what finds faces and landmarks, by the name of its checkpoint; the first one also serves the warp.
        folder: where the files to download are written; the caller removes it.
        limits: of pictures.
    """

    def __init__(self, finders: Mapping[str, Finder], folder: Path, limits: Limits = Limits()) -> None:
        self.finders, self.folder, self.limits = dict(finders), folder, limits

    def find(self, path: str | Path) -> list[Answer]:
        """Find the faces of a picture with every checkpoint, in order.

        Raises:
            DataError: the picture cannot be used, or no checkpoint finds a face in it.
        """
        image = read_upload(path, self.limits.megapixels)
        name = Path(path).name
        seen = [self._timed(checkpoint, image) for checkpoint in self.finders]
        if not any(faces for faces, _ in seen):
            raise no_face(name)
        return [
            self._answer(name, checkpoint, image, faces, seconds)
            for checkpoint, (faces, seconds) in zip(self.finders, seen, strict=True)
        ]

    def warp(self, photo: str | Path, drawing: str | Path, smoothing: float, checkpoint: str = "") -> Warped:
        """Warp the best face of a photo onto that of a drawing.

        Args:
            photo: a picture's file.
            drawing: likewise.
            smoothing: the spline's λ, 0 or more.
            checkpoint: whose landmarks; the first one's if empty.

        Raises:
            DataError: a picture cannot be used, or has no face.
        """
        finder = self.finders[checkpoint or next(iter(self.finders))]
        images = [read_upload(path, self.limits.megapixels) for path in (photo, drawing)]
        best: list[PredictedFace] = []
        for path, image in zip((photo, drawing), images, strict=True):
            faces = finder(image)
            if not faces:
                raise no_face(Path(path).name)
            best.append(faces[0])
        return warp_onto(images[0], best[0], images[1], best[1], smoothing)

    def _timed(self, checkpoint: str, image: ByteArray) -> tuple[Sequence[PredictedFace], float]:
        start = time.perf_counter()
        faces = self.finders[checkpoint](image)
        return faces, time.perf_counter() - start

    def _answer(
        self, name: str, checkpoint: str, image: ByteArray, faces: Sequence[PredictedFace], seconds: float
    ) -> Answer:
        count = f"{len(faces) or 'no'} face{'s' if len(faces) > 1 else ''}"
        # Each answer has a folder of its own: two visitors may send pictures of one name.
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        file = Path(name)
        record = describe(PictureFaces(0, file, image, list(faces)), Names([file]))
        points = JsonOutput(folder, {"checkpoint": checkpoint})
        points.add(record)
        points.close()
        return Answer(
            draw_doubts(image, faces),
            f"{checkpoint}: {count}, {seconds:.2f} s",
            faces_table(faces),
            _zipped(folder / f"{file.stem}.zip", record),
            folder / _JSON,
        )


def no_face(name: str) -> DataError:
    """The error about a picture without a face."""
    return DataError(
        f"{name}: found no face, expected at least one. Take a picture in which it is larger, upright and not cut off; "
        "very abstract drawings may not be found."
    )


def faces_table(faces: Sequence[PredictedFace]) -> str:
    """The faces as a table in HTML."""
    if not faces:
        return ""
    rows = [_row(number, face) for number, face in enumerate(faces, start=1)]
    head, *body = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in _tagged(rows))
    return (
        '<table class="faces"><thead><tr>'
        + head
        + "</tr></thead><tbody>"
        + "".join(f"<tr>{row}</tr>" for row in body)
        + "</tbody></table>"
    )


def _tagged(rows: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [("th", _HEAD), *(("td", row) for row in rows)]


def _row(number: int, face: PredictedFace) -> list[str]:
    doubts = relative_uncertainty(face)
    parts = {name: float(doubts[list(part)].mean()) for name, part in PARTS.items()}
    known = bool(np.isfinite(doubts).all())
    return [
        str(number),
        "–" if math.isnan(face.score) else f"{face.score:.2f}",
        f"{face.interocular:.0f} px",
        f"{face.doubt:.1f} %" if known else "not told",
        max(parts, key=lambda name: parts[name]).replace("_", " ") if known else "–",
    ]


def _zipped(file: Path, record: Record) -> Path:
    """Write a zip of one ``.pts`` file per face and the JSON file that lies beside it."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, face in zip(record.names, record.result.faces, strict=True):
            pts = file.with_name(f"{name}.pts")
            write_pts(pts, face.landmarks)
            archive.write(pts, pts.name)
        archive.write(file.with_name(_JSON), _JSON)
    return file
