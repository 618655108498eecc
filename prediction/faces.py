"""What is found: a face with its landmarks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamodules.ibug68 import OUTER_EYE_CORNERS

Array = npt.NDArray[np.float64]


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

    landmarks: Array
    uncertainty: Array
    detected: Array
    score: float

    @property
    def box(self) -> Array:
        """The landmarks' own box, ``x0, y0, x1, y1``, shape ``(4,)``."""
        return np.concatenate([self.landmarks.min(0), self.landmarks.max(0)])

    @property
    def is_finite(self) -> bool:
        """Whether all landmarks are numbers: a network's output can be anything."""
        return bool(np.isfinite(self.landmarks).all())

    @property
    def interocular(self) -> float:
        """The distance between the outer eye corners (36 and 45), in pixels."""
        left, right = OUTER_EYE_CORNERS
        return float(np.linalg.norm(self.landmarks[left] - self.landmarks[right]))

    @property
    def doubt(self) -> float:
        """Mean uncertainty over the inter-ocular distance, in %: the unit of NME; NaN where it is not told.

        NME correlates with it: what is sorted by it shows a person the doubtful faces first.
        """
        return 100 * float(self.uncertainty.mean()) / max(self.interocular, 1e-3)
