"""Smooth outlines of a face's parts through its landmarks. All points are (x, y) in image pixels, shape ``(N, 2)``."""

from functools import cache

import numpy as np
import numpy.typing as npt

from datamodules.ibug68 import PARTS
from datamodules.synthetic.anatomy import Points
from datamodules.synthetic.geometry import FaceGeometry

_STEPS = 6


@cache
def _spline_matrix(count: int, closed: bool) -> Points:
    """The matrix from control points to points of the Catmull–Rom curve through them."""
    segments = count if closed else count - 1
    matrix = np.zeros((segments * _STEPS + (0 if closed else 1), count))
    for segment in range(segments):
        for step in range(_STEPS):
            t = step / _STEPS
            weights = (
                0.5 * (-t + 2 * t**2 - t**3),
                0.5 * (2 - 5 * t**2 + 3 * t**3),
                0.5 * (t + 4 * t**2 - 3 * t**3),
                0.5 * (t**3 - t**2),
            )
            for k, weight in enumerate(weights):
                j = segment - 1 + k
                j = j % count if closed else min(max(j, 0), count - 1)
                matrix[segment * _STEPS + step, j] += weight
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def smooth(points: npt.NDArray[np.floating], closed: bool = False) -> Points:
    """The Catmull–Rom curve through ``points``, shape ``(6 (N - 1) + 1, 2)``, or ``(6 N, 2)`` if closed."""
    curve: Points = _spline_matrix(len(points), closed) @ np.asarray(points, dtype=np.float64)
    return curve


def jaw(face: FaceGeometry) -> Points:
    """The jaw's contour through landmarks 0–16."""
    return smooth(face.landmarks[:17])


def head(face: FaceGeometry) -> Points:
    """The closed outline of jaw and cranium."""
    return smooth(np.concatenate([face.landmarks[:17], face.cranium[::-1]]), closed=True)


def eye_lids(face: FaceGeometry, side: int) -> tuple[Points, Points]:
    """Upper and lower lid of one eye (0: viewer's left), each from smaller to larger x in a frontal face."""
    eye = face.landmarks[list(PARTS["right_eye" if side else "left_eye"])]
    return smooth(eye[:4]), smooth(eye[[0, 5, 4, 3]])


def eye(face: FaceGeometry, side: int) -> Points:
    """The closed outline of one eye, sharp at its corners."""
    upper, lower = eye_lids(face, side)
    return np.concatenate([upper, lower[::-1]])


def brow(face: FaceGeometry, side: int) -> Points:
    """The middle line of one brow through its five landmarks."""
    return smooth(face.landmarks[list(PARTS["right_brow" if side else "left_brow"])])


def outer_lips(face: FaceGeometry) -> tuple[Points, Points]:
    """The lips' outer edge: above, from the left corner to the right one, and below, back again."""
    lips = face.landmarks[48:60]
    return smooth(lips[:7]), smooth(lips[[6, 7, 8, 9, 10, 11, 0]])


def inner_lips(face: FaceGeometry) -> tuple[Points, Points]:
    """The lips' inner edge: above, from left to right, and below, back again."""
    lips = face.landmarks[60:68]
    return smooth(lips[:5]), smooth(lips[[4, 5, 6, 7, 0]])


def nose_bridge(face: FaceGeometry) -> Points:
    """The ridge through landmarks 27–30."""
    return smooth(face.landmarks[27:31])


def nose_base(face: FaceGeometry) -> Points:
    """The lower edge through landmarks 31–35."""
    return smooth(face.landmarks[31:36])


def nose_wing(face: FaceGeometry, side: int) -> Points:
    """The fold around one wing, from beside the tip down to landmark 31 or 35."""
    corner, base, tip = face.landmarks[35 if side else 31], face.landmarks[33], face.landmarks[30]
    out = corner - base
    up = tip - base
    return smooth(np.stack([corner + 0.75 * up - 0.12 * out, corner + 0.35 * up + 0.12 * out, corner]))


def nostril(face: FaceGeometry, side: int) -> Points:
    """One nostril's hole, just above the base."""
    base = face.landmarks[[33, 34, 35] if side else [33, 32, 31]].astype(np.float64)
    up = 0.22 * (face.landmarks[30] - face.landmarks[33])
    near, middle, far = base[0] * 0.65 + base[1] * 0.35, base[1], base[1] * 0.4 + base[2] * 0.6
    return smooth(np.stack([near, middle, far, far + 0.6 * up, middle + up]), closed=True)


def hair_line(face: FaceGeometry, height: float) -> Points:
    """Where the hair begins, from the left temple over the forehead to the right one.

    Args:
        face: the geometry.
        height: how high up the forehead it begins: 0 at the brows, 1 at the top of the head.
    """
    centre = face.landmarks[[21, 22]].mean(0)
    reach = 1.0 - (1.0 - height) * np.sin(np.pi * np.linspace(0.0, 1.0, len(face.cranium))) ** 0.7
    return smooth(centre + reach[:, None] * (face.cranium - centre))


def hair_cap(face: FaceGeometry, height: float, volume: float) -> Points:
    """The closed outline of the hair above the forehead.

    Args:
        face: the geometry.
        height: as in :func:`hair_line`.
        volume: how far the hair stands off the head, as a share of the head's radius.
    """
    centre = face.cranium.mean(0)
    bulge = 0.35 + 0.65 * np.sin(np.pi * np.linspace(0.0, 1.0, len(face.cranium)))
    outer = centre + (1.0 + volume * bulge[:, None]) * (face.cranium - centre)
    return np.concatenate([smooth(outer), hair_line(face, height)[::-1]])


def long_hair(face: FaceGeometry, volume: float, length: float) -> Points:
    """The closed outline of long hair, to be painted behind the head.

    Args:
        face: the geometry.
        volume: as in :func:`hair_cap`.
        length: how far it falls: 1 reaches the chin.
    """
    centre = face.cranium.mean(0)
    outer = centre + (1.0 + volume) * (face.cranium - centre)
    chin = face.landmarks[8] - face.landmarks[27]
    left, right = outer[0], outer[-1]
    widen = 0.12 * (right - left)
    ends = [right + 0.5 * length * chin + 0.5 * widen, right + length * chin, left + length * chin]
    return smooth(np.concatenate([outer, ends, [left + 0.5 * length * chin - 0.5 * widen]]), closed=True)


def neck(face: FaceGeometry, width: float) -> Points:
    """Neck and shoulders below the chin; ``width`` is the neck's share of the jaw's width."""
    left, right, chin, brow_centre = (face.landmarks[i].astype(np.float64) for i in (4, 12, 8, 27))
    middle, half, down = (left + right) / 2, width * (right - left) / 2, chin - brow_centre
    down = np.array([0.35 * down[0], down[1]])
    foot = chin + 0.3 * down
    points = [middle - half, foot - 1.05 * half, foot + 0.35 * down - 3.0 * half, foot + 2.0 * down - 4.0 * half]
    other = [foot + 2.0 * down + 4.0 * half, foot + 0.35 * down + 3.0 * half, foot + 1.05 * half, middle + half]
    return np.stack([*points, *other])


def ellipse(
    centre: npt.NDArray[np.floating], radii: tuple[float, float], angle: float = 0.0, count: int = 20
) -> Points:
    """The outline of an ellipse, its first axis at ``angle`` radians from x."""
    t = 2 * np.pi * np.arange(count) / count
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline: Points = np.stack([radii[0] * np.cos(t), radii[1] * np.sin(t)], axis=1) @ axes + centre
    return outline


def circle(centre: npt.NDArray[np.floating], radius: float) -> Points:
    """The outline of a circle."""
    return ellipse(centre, (radius, radius))


def ribbon(line: Points, widths: npt.NDArray[np.floating]) -> Points:
    """The closed outline of a band around ``line`` that is ``widths[i]`` wide at its i-th point (a tapered stroke)."""
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    half = 0.5 * np.asarray(widths)[:, None] * normal
    return np.concatenate([line + half, (line - half)[::-1]])
