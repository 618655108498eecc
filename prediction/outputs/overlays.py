"""Landmarks drawn into pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.ibug68 import CLOSED_PARTS, PARTS
from prediction.faces import Array, PredictedFace
from prediction.outputs.base import Record, write_whole

_LINE: Final = (64, 224, 96)
_POINT: Final = (255, 255, 255)
_BOX: Final = (255, 176, 32)
_FRACTION: Final = 4
"""Bits of a fraction of a pixel that OpenCV draws at."""


def draw_faces(image: ByteArray, faces: Sequence[PredictedFace], boxes: bool = True) -> ByteArray:
    """A copy of a picture with its faces' landmarks joined by lines, and the boxes that were detected.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        faces: in its pixels.
        boxes: also draw the boxes.
    """
    drawn = image.copy()
    for face in faces:
        if boxes:
            (left, top, right, bottom) = face.detected.round().astype(int).tolist()
            cv2.rectangle(drawn, (left, top), (right, bottom), _BOX, 1, cv2.LINE_AA)
        draw_landmarks(drawn, face.landmarks)
    return drawn


def draw_landmarks(image: ByteArray, landmarks: Array) -> None:
    """Draw landmarks ``(68, 2)`` into a picture, lines and points as thick as suits the face's size."""
    size = float(np.ptp(landmarks, axis=0).max())
    thickness, radius = max(1, round(size / 160)), max(1, round(size / 100))
    fixed = (landmarks * 2**_FRACTION).round().clip(-(2**30), 2**30).astype(np.int32)
    for part, places in PARTS.items():
        line = fixed[list(places)].reshape(-1, 1, 2)
        cv2.polylines(image, [line], part in CLOSED_PARTS, _LINE, thickness, cv2.LINE_AA, _FRACTION)
    for point in fixed.tolist():
        cv2.circle(image, tuple(point), radius << _FRACTION, _POINT, -1, cv2.LINE_AA, _FRACTION)


class OverlayOutput:
    """``overlays/PICTURE.jpg``: each picture with its faces' landmarks and boxes, at most 1600 pixels long.

    Args:
        folder: exists; ``overlays`` is made in it.
    """

    longest: Final = 1600

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "overlays"
        self._folder.mkdir(exist_ok=True)

    def add(self, record: Record) -> None:
        """Write a picture's overlay."""
        image = record.result.image
        if image is None:
            return
        scale = min(1.0, self.longest / max(image.shape[:2]))
        if scale < 1:
            size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        # resize maps pixel edges to pixel edges.
        faces = [
            PredictedFace((f.landmarks + 0.5) * scale - 0.5, f.uncertainty, (f.detected + 0.5) * scale - 0.5, f.score)
            for f in record.result.faces
        ]
        write_jpeg(self._folder / overlay_name(record), draw_faces(image, faces))

    def close(self) -> None:
        """Nothing is left to do."""


def overlay_name(record: Record) -> str:
    """The file of a picture's overlay: its whole name, since others may differ by the suffix only."""
    return f"{record.name}.jpg"


def write_jpeg(path: Path, image: ByteArray) -> None:
    """Write RGB, uint8, shape ``(H, W, 3)``, whole or not at all."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done, "any picture of 8 bits can be encoded"
    write_whole(path, lambda part: part.write_bytes(data.tobytes()))
