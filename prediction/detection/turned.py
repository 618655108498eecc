"""Faces that lie or lean: the detector looks at the picture again, turned."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.transforms import CROP_FACTOR, Square, apply_matrix
from prediction.detection.base import Array, Detections, Detector, strongest
from prediction.views import turning

_SURE: Final = 0.8
"""Confidence in an upright face from which the picture is not searched turned, of detectors that have no ``sure``."""
_TURNS: Final = (90.0, -90.0, 45.0, -45.0)
_COPY: Final = 960
"""Longer side of the copy of the picture that is turned, in pixels."""


@dataclass(frozen=True)
class Place:
    """Where a face is to be looked for.

    Attributes:
        square: around it, in the picture's pixels.
        score: the detector's confidence, 0 to 1; NaN where it has none.
        turn: how far the face is turned clockwise in the picture, in degrees.
    """

    square: Square
    score: float
    turn: float = 0.0

    @property
    def box(self) -> Array:
        """The box ``x0, y0, x1, y1`` that the square is the crop of, shape ``(4,)``."""
        half = self.square.side / CROP_FACTOR / 2
        x, y = self.square.x, self.square.y
        return np.array([x - half, y - half, x + half, y + half])


def places(detections: Detections, turn: float = 0.0) -> list[Place]:
    """Detections as places of faces, in their order."""
    return [
        Place(Square.around(box), float(score), turn)
        for box, score in zip(detections.boxes, detections.scores, strict=True)
    ]


def find_turned(detector: Detector, image: ByteArray) -> list[Place]:
    """Faces at any turn up to 90 degrees, best first.

    Upright ones come first: only a picture in which none of them is sure is looked at again, turned by 90 and by 45
    degrees either way. Where two overlap, the surer is kept.

    Args:
        detector: of upright faces; it sees a copy of at most 960 pixels turned. Its attribute ``sure``, if it has one,
            is the confidence that it has in upright faces only.
        image: RGB, uint8, shape ``(H, W, 3)``.
    """
    upright = detector(image)
    if len(upright) and not upright.scores.max() < getattr(detector, "sure", _SURE):
        return places(upright)
    found = places(upright) + [place for turn in _TURNS for place in _at_turn(detector, image, turn)]
    if not found:
        return []
    scores = np.array([place.score for place in found])
    kept = strongest(Detections(np.stack([place.box for place in found]), scores))
    return [found[_index(found, box)] for box in kept.boxes]


def _index(found: list[Place], box: Array) -> int:
    return next(i for i, place in enumerate(found) if np.array_equal(place.box, box))


def _at_turn(detector: Detector, image: ByteArray, turn: float) -> list[Place]:
    """Faces turned by about as many degrees clockwise."""
    matrix, size = turning(image.shape[1], image.shape[0], turn, _COPY)
    seen = detector(np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), dtype=np.uint8))
    if not len(seen):
        return []
    back = cv2.invertAffineTransform(matrix)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    found = []
    for place in places(seen, turn):
        x, y = apply_matrix(back, np.array([place.square.x, place.square.y]))
        found.append(Place(Square(float(x), float(y), place.square.side / scale), place.score, turn))
    return found
