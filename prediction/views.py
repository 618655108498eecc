"""How a face is looked at: a part of the picture about it, turned where the face is."""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.transforms import Matrix, Square, apply_matrix
from prediction.faces import Array

_REACH: Final = 2.7
"""Half the side of a face's surroundings, over its crop's side: two rounds of cropping again stay within."""
_LARGEST: Final = 2048
"""Longest side of a turned copy, in pixels."""
_EYES: Final = (slice(36, 42), slice(42, 48))


@dataclass(frozen=True)
class View:
    """A face's surroundings.

    Attributes:
        image: RGB, uint8, shape ``(h, w, 3)``.
        square: around the face, in the view's pixels.
        matrix: from the view's pixels to the picture's, shape ``(2, 3)``: a turn, a scale and a shift.
        turn: how far the picture was turned counterclockwise to make the view, in degrees.
    """

    image: ByteArray
    square: Square
    matrix: Matrix
    turn: float

    @property
    def scale(self) -> float:
        """Size of a picture's pixel in the view's pixels."""
        return 1 / math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    def to_picture(self, points: Array) -> Array:
        """Points ``(N, 2)`` in the view's pixels to the picture's."""
        return apply_matrix(self.matrix, points)


def view_of(image: ByteArray, square: Square, turn: float = 0.0) -> View:
    """The view of a face.

    Args:
        image: the picture, RGB, uint8, shape ``(H, W, 3)``.
        square: around the face, in the picture's pixels.
        turn: how far the face is turned clockwise in the picture, in degrees; in the view it is upright.
    """
    if turn == 0:
        return _part(image, square)
    side = 2 * _REACH * square.side
    scale = min(1.0, _LARGEST / side)
    size = max(1, math.ceil(side * scale))
    centre = (size - 1) / 2
    matrix = _about((square.x, square.y), (centre, centre), turn, scale)
    seen = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR if scale == 1 else cv2.INTER_AREA)
    back = cv2.invertAffineTransform(matrix)
    return View(np.asarray(seen, dtype=np.uint8), Square(centre, centre, square.side * scale), back, turn)


def _part(image: ByteArray, square: Square) -> View:
    """The picture itself, or where it is much larger than the face, a part of it: crops are then cut faster."""
    height, width = image.shape[:2]
    reach = _REACH * square.side
    left, top = max(0, math.floor(square.x - reach)), max(0, math.floor(square.y - reach))
    right, bottom = min(width, math.ceil(square.x + reach) + 1), min(height, math.ceil(square.y + reach) + 1)
    if right - left < 1 or bottom - top < 1 or (right - left) * (bottom - top) > width * height / 2:
        left, top, right, bottom = 0, 0, width, height
    shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    there = Square(square.x - left, square.y - top, square.side)
    return View(image[top:bottom, left:right], there, shift, 0.0)


def turning(width: int, height: int, turn: float, longest: int) -> tuple[Matrix, tuple[int, int]]:
    """How to turn a whole picture counterclockwise: the map from its pixels to the copy's, and the copy's size.

    Args:
        width: of the picture, in pixels.
        height: of the picture.
        turn: degrees.
        longest: side of the copy that is not exceeded: the picture is scaled down to it.
    """
    cos, sin = abs(math.cos(math.radians(turn))), abs(math.sin(math.radians(turn)))
    across, down = width * cos + height * sin, width * sin + height * cos
    scale = min(1.0, longest / max(across, down))
    size = max(1, round(across * scale)), max(1, round(down * scale))
    old, new = ((width - 1) / 2, (height - 1) / 2), ((size[0] - 1) / 2, (size[1] - 1) / 2)
    return _about(old, new, turn, scale), size


def _about(old: tuple[float, float], new: tuple[float, float], turn: float, scale: float) -> Matrix:
    """Turns counterclockwise about ``old`` by ``turn`` degrees, scales, and moves that to ``new``; y goes down."""
    cos, sin = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.hstack([linear, (np.array(new) - linear @ np.array(old))[:, None]])


def eye_turn(landmarks: Array) -> float:
    """How far the line through the eyes' centres is turned clockwise from level, in degrees; landmarks ``(68, 2)``."""
    left, right = (landmarks[eye].mean(0) for eye in _EYES)
    x, y = right - left
    return math.degrees(math.atan2(y, x))
