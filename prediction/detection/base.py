"""The interface of every face detector."""

from dataclasses import dataclass
from typing import Protocol

from datamodules.faces import ByteArray, FloatArray


@dataclass(frozen=True)
class Detections:
    """The faces of one picture, best first.

    Attributes:
        boxes: ``x0, y0, x1, y1`` in the picture's pixels (pixel centres at integers), shape ``(N, 4)``, float64; they
            may reach over the picture's edge.
        scores: the detector's confidence in each, 0 to 1, shape ``(N,)``, float64; NaN where it has none.
    """

    boxes: FloatArray
    scores: FloatArray


class Detector(Protocol):
    """Finds faces in a picture."""

    def __call__(self, image: ByteArray) -> Detections:
        """Find the faces of ``image`` (RGB, uint8, shape ``(H, W, 3)``); none is no error."""
