"""Resampling images under affine maps, and the part of an image that the crops about one square can show.

Frame: image pixels, (x, y), pixel centres at integers, zero-based. An affine map is a ``(2, 3)`` matrix in float64.
"""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.faces import ByteArray

Matrix = npt.NDArray[np.float64]

_BORDER = 2
"""Pixels that a view has around what is asked for, so that interpolation at its rim sees the image and not black."""


def apply_matrix(matrix: Matrix, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Apply an affine map ``(2, 3)`` to points ``(..., 2)``."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The affine map ``(2, 3)`` that applies ``inner`` first, then ``outer``."""
    composed: Matrix = outer[:, :2] @ inner
    composed[:, 2] += outer[:, 2]
    return composed


def cut(image: ByteArray, matrix: Matrix, size: int) -> ByteArray:
    """Resample ``image`` (H, W, 3) to ``(size, size, 3)`` under ``matrix``; outside the image is black."""
    scale = _scale(matrix)
    if scale < 0.5:
        # warpAffine interpolates between four pixels, which aliases when it shrinks: shrink large photos by area first.
        image, shrinking = _shrunk(image, 2 * scale)
        fx, fy, x, y = shrinking
        matrix = compose(matrix, np.array([[1 / fx, 0, -x / fx], [0, 1 / fy, -y / fy]]))
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def planes(image: ByteArray) -> ByteArray:
    """An image ``(H, W, 3)`` as three planes, ``(3, H, W)``, contiguous."""
    height, width = image.shape[:2]
    out = np.empty((3, height, width), np.uint8)
    cv2.split(image, list(out))  # five times as fast as numpy's transposition
    return out


@dataclass(frozen=True)
class View:
    """The part of an image that the crops about one square can show, shrunk to the resolution that they need.

    It depends on the image and the arguments of :meth:`around` alone, so that a crop is the same whether its view was
    kept or made anew.

    Attributes:
        pixels: RGB, uint8, shape ``(h, w, 3)``.
        left, top: the part's first column and row in the image.
        width, height: of the whole image.
        factors: the view's pixels per image pixel, in x and in y; (1, 1) where it was not shrunk.
    """

    pixels: ByteArray
    left: int
    top: int
    width: int
    height: int
    factors: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def around(cls, image: ByteArray, centre: tuple[float, float], side: float, scale: float) -> Self:
        """The view of a square, without what of it lies outside the image.

        Args:
            image: RGB, uint8, shape ``(H, W, 3)``.
            centre: of the square, image pixels.
            side: of the square, image pixels.
            scale: the least number of the view's pixels per image pixel; images are not enlarged.
        """
        height, width = image.shape[:2]
        (left, right), (top, bottom) = (
            _span(middle, side / 2 + _BORDER, length) for middle, length in zip(centre, (width, height), strict=True)
        )
        part = image[top:bottom, left:right]
        if scale >= 1:
            return cls(np.ascontiguousarray(part), left, top, width, height)
        pixels, (fx, fy, _, _) = _shrunk(part, scale)
        return cls(pixels, left, top, width, height, (fx, fy))

    @property
    def whole(self) -> bool:
        """Whether it is the image itself: all of it, as large as it is."""
        return self.pixels.shape[:2] == (self.height, self.width)

    def shows(self, matrix: Matrix, size: int) -> bool:
        """Whether a crop of ``size`` under ``matrix`` (from image pixels) lies in the view, which is as fine as it."""
        (a, b, tx), (c, d, ty) = matrix.tolist()
        determinant = a * d - b * c
        reach = (size - 1) / 2
        # The crop's middle in the image, and how far its corners reach from there.
        u, v = reach - tx, reach - ty
        x, y = (d * u - b * v) / determinant, (a * v - c * u) / determinant
        wide, high = (reach * (abs(p) + abs(q)) / abs(determinant) + 1 for p, q in ((b, d), (a, c)))
        fine = min(self.factors) >= 1 or math.sqrt(abs(determinant)) <= min(self.factors)
        h, w = self.pixels.shape[:2]
        right, bottom = self.left + round(w / self.factors[0]), self.top + round(h / self.factors[1])
        inside = (
            (self.left == 0 or x - wide >= self.left)
            and (self.top == 0 or y - high >= self.top)
            and (right >= self.width or x + wide <= right - 1)
            and (bottom >= self.height or y + high <= bottom - 1)
        )
        return fine and inside

    def cut(self, matrix: Matrix, size: int) -> ByteArray:
        """As :func:`cut` from the image under ``matrix``, resampled from the view."""
        # The view's pixel u lies at x = (u + ½) / f - ½ + left of the image.
        back = np.array([[1 / f, 0.5 / f - 0.5 + start] for f, start in zip(self.factors, self._start, strict=True)])
        inner = np.array([[back[0, 0], 0.0, back[0, 1]], [0.0, back[1, 0], back[1, 1]]])
        return cut(self.pixels, compose(matrix, inner), size)

    @property
    def _start(self) -> tuple[int, int]:
        return self.left, self.top


def _scale(matrix: Matrix) -> float:
    (a, b, _), (c, d, _) = matrix.tolist()
    return math.sqrt(abs(a * d - b * c))


def _span(middle: float, reach: float, length: int) -> tuple[int, int]:
    """The first pixel and the end of what lies within ``reach`` of ``middle``: of ``length`` pixels at least one."""
    start = min(max(math.floor(middle - reach), 0), length - 1)
    return start, max(min(math.ceil(middle + reach) + 1, length), start + 1)


def _shrunk(image: ByteArray, scale: float) -> tuple[ByteArray, tuple[float, float, float, float]]:
    """The image shrunk by area to about ``scale``, and the map to its pixels: x' = fx x + tx, y' = fy y + ty."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    fx, fy = width / image.shape[1], height / image.shape[0]
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # resize maps pixel edges to pixel edges: x' = (x + ½) f - ½.
    return np.asarray(small, np.uint8), (fx, fy, 0.5 * fx - 0.5, 0.5 * fy - 0.5)
