"""What is found: a face with its landmarks."""

from dataclasses import dataclass

from datamodules.faces import FloatArray


@dataclass(frozen=True)
class PredictedFace:
    """A face in a picture. All coordinates are the picture's pixels: pixel centres at integers, x right, y down.

    Attributes:
        landmarks: the 68 iBUG landmarks, shape ``(68, 2)``, float64.
        uncertainty: standard deviation of each landmark along an axis, in pixels, shape ``(68,)``; NaN where the
            landmarker does not tell.
        detected: the box that the landmarker started from, ``x0, y0, x1, y1``, shape ``(4,)``.
        score: the detector's confidence, 0 to 1; NaN where no detector gave the box.
    """

    landmarks: FloatArray
    uncertainty: FloatArray
    detected: FloatArray
    score: float

    @property
    def box(self) -> FloatArray:
        """The landmarks' own box, ``x0, y0, x1, y1``, shape ``(4,)``."""
        raise NotImplementedError  # helper B
