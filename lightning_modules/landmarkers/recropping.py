"""Where to crop a face again, given the landmarks found in its last crop."""

from typing import Final

import numpy as np
import numpy.typing as npt

from datamodules.faces import ByteArray
from datamodules.transforms import Square
from lightning_modules.landmarkers.reference_shape import MEAN_FACE

_GROWTH: Final = 1.5
"""Largest change of a crop's side, either way, from one round to the next."""
_REACH: Final = 0.5
"""Largest shift of a crop's centre in x and in y from one round to the next, as a share of its side."""
_SMALLEST: Final = 8.0
"""Side of the smallest crop that is cropped to again, in image pixels."""
_TRUST: Final = (0.08, 0.15)
"""How far from the fitted face a landmark counts, in the first round and in later ones, as a share of its side.

In a loose crop, single landmarks of weak landmarkers lie in the background and would keep the box large; in a good one,
the landmarks of a caricature are far from a mean face and right.
"""
_ITERATIONS: Final = 6

Points = npt.NDArray[np.float64]


def recropped(square: Square, landmarks: Points, image: ByteArray, turn: int = 0) -> Square:
    """The square to crop next: around the landmarks' box as :func:`plausible` has it, within bounds.

    It moves by at most half the last square's side and changes its side by at most a factor of 1.5; its centre stays
    in the image, and its side between 8 pixels and twice the image's longer side.

    Args:
        square: the last one.
        landmarks: found there, image pixels, shape ``(68, 2)``; where any is not finite, the square stays.
        image: of shape ``(H, W, 3)``; only its shape is read.
        turn: how often the face was cropped again before.
    """
    if not np.isfinite(landmarks).all():
        return square
    points = plausible(landmarks, _TRUST[min(turn, len(_TRUST) - 1)])
    wanted = Square.around(np.concatenate([points.min(0), points.max(0)]))
    height, width = image.shape[:2]
    side = _within(wanted.side, square.side / _GROWTH, square.side * _GROWTH)
    reach = _REACH * square.side
    x, y = (_within(to, last - reach, last + reach) for to, last in ((wanted.x, square.x), (wanted.y, square.y)))
    return Square(_within(x, 0, width - 1), _within(y, 0, height - 1), _within(side, _SMALLEST, 2 * max(height, width)))


def plausible(landmarks: Points, trust: float) -> Points:
    """Landmarks with those that fly off drawn in, towards a mean face fitted to the others.

    The fit is a similarity by iteratively reweighted least squares (weights of Geman and McClure), so that what most
    landmarks agree on decides.

    Args:
        landmarks: shape ``(68, 2)``.
        trust: how far from its place on the fitted face a landmark may lie, as a share of that face's longer side.

    Returns:
        Shape ``(68, 2)``: each landmark that is farther from its place on the fitted face is drawn in to that distance.
    """
    points, mean_face = landmarks @ _AXES, np.array(MEAN_FACE) @ _AXES
    weights = np.ones(len(points))
    for _ in range(_ITERATIONS):
        fitted = _similarity(mean_face, points, weights)
        apart = np.abs(points - fitted)
        # Above 0, also where every landmark is where the fit has it.
        typical = max(float(np.median(apart)), 1e-9 * float(np.abs(fitted).max()), 1e-12)
        weights = 1 / (1 + (apart / (2 * typical)) ** 2) ** 2
    side = max(np.ptp(fitted.real), np.ptp(fitted.imag))
    drawn = fitted + (points - fitted) * np.minimum(1, trust * side / np.maximum(apart, 1e-12))
    return np.stack([drawn.real, drawn.imag], axis=1)


_AXES: Final = np.array([1, 1j])
"""Points as complex numbers: multiplication then turns and scales."""


def _similarity(
    source: npt.NDArray[np.complex128], target: npt.NDArray[np.complex128], weights: Points
) -> npt.NDArray[np.complex128]:
    """The source moved, turned and scaled onto the target, by weighted least squares."""
    a, b = np.average(source, weights=weights), np.average(target, weights=weights)
    centred = source - a
    turn = (weights * centred.conj() * (target - b)).sum() / (weights * np.abs(centred) ** 2).sum()
    moved: npt.NDArray[np.complex128] = b + turn * centred
    return moved


def _within(value: float, low: float, high: float) -> float:
    return float(np.clip(value, low, high))
