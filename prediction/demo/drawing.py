"""Landmarks drawn on a picture, each in the colour of its uncertainty."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.faces import ByteArray
from datamodules.ibug68 import CLOSED_PARTS, PARTS, interocular_distance
from prediction.faces import PredictedFace

Array = npt.NDArray[np.floating]

DOUBTFUL: Final = 0.1
"""Uncertainty, over the distance of the outer eye corners, from which a point has the last colour."""
COLOURS: Final = ((53, 201, 255), (255, 225, 77), (255, 59, 48))
"""From sure to doubtful: light blue, yellow, red, which colour-blind people tell apart too."""
_UNKNOWN: Final = (255, 255, 255)
_LONGER, _SHORTEST = 960, 480
"""Longer side of what is drawn, in pixels, at most and at least: small pictures are enlarged to see the points."""
_SHIFT: Final = 4
"""OpenCV draws at fractions of 1 / 2**shift pixels."""


def relative_uncertainty(face: PredictedFace) -> Array:
    """Each landmark's uncertainty over the distance of the outer eye corners, shape ``(68,)``; NaN where unknown."""
    return np.asarray(face.uncertainty / max(face.interocular, 1e-3))


def colours_of(uncertainty: Array) -> ByteArray:
    """The colour of each landmark, RGB, shape ``(68, 3)``; white where the uncertainty is not known.

    Args:
        uncertainty: see :func:`relative_uncertainty`.
    """
    places = np.linspace(0, DOUBTFUL, len(COLOURS))
    channels = [np.interp(uncertainty, places, channel) for channel in np.transpose(COLOURS)]
    known = np.isfinite(uncertainty)[:, None]
    return np.where(known, np.nan_to_num(np.stack(channels, axis=1)).round(), _UNKNOWN).astype(np.uint8)


def draw_doubts(image: ByteArray, faces: Sequence[PredictedFace]) -> ByteArray:
    """The picture with the landmarks of its faces; with several, each has its number and its box.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        faces: in its pixels.

    Returns:
        RGB, uint8, resized in proportion so that the longer side has 480 to 960 pixels.
    """
    longer = max(image.shape[:2])
    scale = min(max(longer, _SHORTEST), _LONGER) / longer
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = image.copy() if scale == 1 else np.asarray(cv2.resize(image, (width, height), interpolation=method))
    # `resize` maps pixel edges to pixel edges.
    stretch = np.array([width, height]) / image.shape[1::-1]
    for number, face in enumerate(faces, start=1):
        points = (face.landmarks + 0.5) * stretch - 0.5
        if len(faces) > 1:
            _draw_number(drawn, number, points)
        _draw_points(drawn, points, colours_of(relative_uncertainty(face)))
    return np.asarray(drawn, np.uint8)


def _draw_points(image: ByteArray, points: Array, colours: ByteArray) -> None:
    whole = _fixed(points)
    eyes = float(interocular_distance(points))
    for name, part in PARTS.items():
        line = whole[list(part)]
        # Dark below light, so that the lines are seen on any ground.
        cv2.polylines(image, [line], name in CLOSED_PARTS, (40, 40, 40), 2, cv2.LINE_AA, _SHIFT)
        cv2.polylines(image, [line], name in CLOSED_PARTS, (235, 235, 235), 1, cv2.LINE_AA, _SHIFT)
    radius = min(max(eyes / 45, 1.5), 5.0)
    for (x, y), colour in zip(whole.tolist(), colours.tolist(), strict=True):
        for size, ink in ((radius + 1, (20, 20, 20)), (radius, colour)):
            cv2.circle(image, (x, y), round(size * 2**_SHIFT), ink, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_number(image: ByteArray, number: int, points: Array) -> None:
    low, high = (tuple(corner.tolist()) for corner in _fixed(np.stack([points.min(0) - 8, points.max(0) + 8])))
    cv2.rectangle(image, low, high, (255, 255, 255), 1, cv2.LINE_AA, _SHIFT)
    x, y = (value >> _SHIFT for value in low)
    (wide, tall), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
    cv2.rectangle(image, (x, y), (x + wide + 8, y + tall + 8), (255, 255, 255), cv2.FILLED)
    cv2.putText(image, str(number), (x + 4, y + tall + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 2, cv2.LINE_AA)


def _fixed(points: Array) -> npt.NDArray[np.int32]:
    """Points in OpenCV's fixed-point numbers; those far outside come nearer, as its coordinates are limited."""
    return np.asarray((np.nan_to_num(points).clip(-1e4, 1e4) * 2**_SHIFT).round(), np.int32)
