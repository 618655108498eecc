"""A parametric head in three dimensions that carries the 68 iBUG landmarks.

Face frame: x to the viewer's right, y down, z towards the viewer; the eyes lie on y = 0 and the average jaw is 2 wide
at the ears. Every part is laid out from its neighbour (brows above the lids, lips below the nose, chin below the lips),
so that no choice of proportions can make parts overlap.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Proportions:
    """A person's sizes and distances, relative to the average face's."""

    face_width: float = 1.0
    cheek: float = 1.0
    jaw: float = 1.0
    chin_width: float = 1.0
    chin_height: float = 1.0
    forehead: float = 1.0
    eye_width: float = 1.0
    eye_height: float = 1.0
    eye_spacing: float = 1.0
    brow_gap: float = 1.0
    brow_width: float = 1.0
    brow_arch: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    nose_depth: float = 1.0
    lip_gap: float = 1.0
    mouth_width: float = 1.0
    upper_lip: float = 1.0
    lower_lip: float = 1.0
    ear: float = 1.0


@dataclass(frozen=True)
class Expression:
    """A facial expression. Pairs are (viewer's left, viewer's right).

    Attributes:
        eyes_open: opening of the lids, 0 shut, 1 at rest.
        eye_scale: size of each eye relative to the other's.
        eye_tilt: slope of the eye's axis; positive lifts the outer corners.
        brows_raised: how far the brows are lifted, in face units.
        brow_tilt: slope of the brows; positive is angry.
        mouth_open: distance between the lips, in face units.
        smile: -1 (corners down) to 1 (corners up).
        mouth_shift: how far the mouth is drawn to one side, in face units.
        gaze: where the irises sit, in half eye widths and heights.
    """

    eyes_open: tuple[float, float] = (1.0, 1.0)
    eye_scale: tuple[float, float] = (1.0, 1.0)
    eye_tilt: float = 0.0
    brows_raised: tuple[float, float] = (0.0, 0.0)
    brow_tilt: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0
    mouth_shift: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)


@dataclass
class Head:
    """Points of a head in the face frame.

    Attributes:
        landmarks: shape ``(68, 3)``.
        cranium: outline from the left temple over the top to the right temple, shape ``(11, 3)``.
        ears: outline of each ear, shape ``(2, 7, 3)``.
        irises: centre of each iris, shape ``(2, 3)``.
        iris_radii: shape ``(2,)``.
    """

    landmarks: Points
    cranium: Points
    ears: Points
    irises: Points
    iris_radii: Points


# The viewer's left half, from outside to the middle. The jaw line's depth is the cheek's, not the ear's: photos are
# annotated along the visible outline, which runs across the cheek where a face is turned.
_JAW_X = np.array([-1.0, -0.985, -0.945, -0.875, -0.76, -0.605, -0.42, -0.215, 0.0])
_JAW_Y = np.array([0.0, 0.178, 0.35, 0.515, 0.667, 0.797, 0.9, 0.973, 1.0])
_JAW_Z = np.array([-0.5, -0.48, -0.44, -0.37, -0.27, -0.16, -0.06, 0.01, 0.04])
_JAW_TOP = 0.02
_EYE = np.array([[-0.18, 0.0], [-0.075, -0.076], [0.065, -0.078], [0.18, 0.014], [0.07, 0.06], [-0.07, 0.066]])
_EYE_MIRROR = [3, 2, 1, 0, 5, 4]
_BROW = np.array([[-0.345, 0.05], [-0.23, -0.03], [-0.065, -0.06], [0.11, -0.035], [0.265, 0.03]])
_EAR = np.array(
    [[-0.94, 0.0], [-1.08, -0.15], [-1.2, -0.1], [-1.19, 0.12], [-1.12, 0.33], [-1.02, 0.46], [-0.92, 0.42]]
)
_NOSE_Y = np.array([0.0, 0.34, 0.665, 1.0])
_NOSE_Z = np.array([0.14, 0.09, 0.19, 0.28])
_WING = np.array([[-0.195, 0.09, 0.14], [-0.1, 0.125, 0.2], [0.0, 0.15, 0.24], [0.1, 0.125, 0.2], [0.195, 0.09, 0.14]])
_LIPS_X = np.array([-1.0, -0.64, -0.26, 0.0, 0.26, 0.64, 1.0])
_UPPER_LIP = np.array([0.0, 0.7, 1.05, 0.88, 1.05, 0.7, 0.0])
_LOWER_LIP = np.array([0.0, 0.68, 0.98, 1.05, 0.98, 0.68, 0.0])
_INNER_X = np.array([-0.8, -0.28, 0.0, 0.28, 0.8])
_INNER_LIP = np.array([0.12, 0.97, 1.0, 0.97, 0.12])
_LIP_PARTING = 0.014


def build_head(person: Proportions, expression: Expression) -> Head:
    """Build a head.

    Args:
        person: the proportions.
        expression: the expression.

    Returns:
        The head in the face frame, upright and facing the viewer.
    """
    nose, nose_bottom = _nose(person)
    lips_height = 0.1 * person.upper_lip + 0.13 * person.lower_lip
    mouth_y = nose_bottom + 0.16 * person.lip_gap + 0.1 * person.upper_lip + expression.mouth_open / 2
    chin_y = (
        mouth_y
        + expression.mouth_open / 2
        + 0.13 * person.lower_lip
        + max(0.48 * person.chin_height, 0.5 * lips_height)
    )
    jaw = _jaw(person, chin_y)
    room = float(np.interp(mouth_y, jaw[:9, 1], -jaw[:9, 0]))
    mouth = _mouth(person, expression, mouth_y, room)
    left, right = (_eye_and_brow(person, expression, side) for side in (0, 1))
    mirror = np.array([-1.0, 1.0, 1.0])
    brows = [left[0], right[0][::-1] * mirror]
    eyes = [left[1], right[1][_EYE_MIRROR] * mirror]
    landmarks = np.concatenate([jaw, *brows, *nose, *eyes, mouth])
    irises = np.stack([left[2] + _gaze(person, expression), right[2] * mirror + _gaze(person, expression)])
    cranium = _cranium(person, float(landmarks[17:27, 1].min()))
    ears = _ears(person)
    for points in (landmarks, cranium, ears, irises):
        points[..., 0] *= person.face_width
    radius = 0.086 * min(person.eye_width, 1.15 * person.eye_height)
    return Head(landmarks, cranium, ears, irises, radius * np.array(expression.eye_scale))


def _jaw(person: Proportions, chin_y: float) -> Points:
    """Landmarks 0–16, shape ``(17, 3)``, with bumps at the cheek, the jaw's angle and beside the chin."""
    x = _JAW_X.copy()
    for factor, centre, width in ((person.cheek, 2.0, 2.2), (person.jaw, 4.6, 1.9), (person.chin_width, 6.8, 1.6)):
        bump = np.maximum(0.0, 1.0 - ((np.arange(9) - centre) / (2 * width)) ** 2) ** 3
        x *= 1.0 + (factor - 1.0) * bump
    left = np.stack([x, _JAW_TOP + _JAW_Y * (chin_y - _JAW_TOP), _JAW_Z], axis=1)
    return np.concatenate([left, left[7::-1] * np.array([-1.0, 1.0, 1.0])])


def _nose(person: Proportions) -> tuple[tuple[Points, Points], float]:
    """Landmarks 27–30 and 31–35, and the y of the nose's lowest point."""
    depth = _NOSE_Z.copy()
    depth[1:] = 0.14 + person.nose_depth * depth[1:]
    y = -0.05 + 0.5 * person.nose_length * _NOSE_Y
    bridge = np.stack([np.zeros(4), y, depth], axis=1)
    height = (person.nose_width * person.nose_length) ** 0.5
    wings = _WING * np.array([person.nose_width, height, person.nose_depth**0.5]) + np.array([0.0, y[-1], 0.0])
    return (bridge, wings), float(wings[2, 1])


def _eye_and_brow(person: Proportions, expression: Expression, side: int) -> tuple[Points, Points, Points]:
    """Brow ``(5, 3)``, eye ``(6, 3)`` and eye centre ``(3,)`` of one side, as if it were the viewer's left."""
    scale = expression.eye_scale[side]
    half_width = min(0.18 * person.eye_width * scale, 0.34)
    centre = min(max(0.445 * person.eye_spacing, half_width + 0.09), 0.87 - half_width)
    half_width = min(half_width, centre - 0.07)
    eye = _EYE * np.array([half_width / 0.18, person.eye_height * scale])
    top = float(-eye[:, 1].min())
    # The upper lid comes down to meet the lower one, which rises half its way.
    meeting = 0.5 * eye[[5, 4], 1]
    eye[1:3, 1] = meeting + (eye[1:3, 1] - meeting) * expression.eyes_open[side]
    eye[4:, 1] *= 0.5 + 0.5 * min(expression.eyes_open[side], 1.0)
    eye[:, 1] += expression.eye_tilt * eye[:, 0]
    eye[:, 0] -= centre
    stretch = min(person.brow_width, (0.95 - centre) / 0.345, (centre - 0.05) / 0.265)
    brow = _BROW * np.array([stretch, person.brow_arch])
    brow[:, 1] += (
        expression.brow_tilt * brow[:, 0] - top - max(0.17 * person.brow_gap + expression.brows_raised[side], 0.1)
    )
    brow[:, 0] -= centre
    centre_point = np.array([-centre, 0.0, 0.02 - 0.45 * centre**2])
    return _with_depth(brow, 0.13, 0.62), _with_depth(eye, 0.03, 0.45), centre_point


def _with_depth(points: Points, nearest: float, curvature: float) -> Points:
    return np.column_stack([points, nearest - curvature * points[:, 0] ** 2])


def _gaze(person: Proportions, expression: Expression) -> Points:
    return np.array([0.09 * person.eye_width * expression.gaze[0], 0.03 * person.eye_height * expression.gaze[1], 0.0])


def _mouth(person: Proportions, expression: Expression, y: float, room: float) -> Points:
    """Landmarks 48–67, shape ``(20, 3)``; ``room`` is half the face's width at the mouth's height ``y``."""
    half_width = min(0.365 * person.mouth_width * (1.0 + 0.15 * expression.smile), 0.68 * room)
    shift = float(np.clip(expression.mouth_shift, half_width - 0.8 * room, 0.8 * room - half_width))
    half_open = expression.mouth_open / 2
    upper = -(half_open + 0.1 * person.upper_lip) * _UPPER_LIP
    lower = (half_open + 0.13 * person.lower_lip) * _LOWER_LIP
    parting = (half_open + _LIP_PARTING / 2) * _INNER_LIP
    u = np.concatenate([_LIPS_X, _LIPS_X[5:0:-1], _INNER_X, _INNER_X[3:0:-1]])
    v = np.concatenate([upper, lower[5:0:-1], -parting, parting[3:0:-1]])
    lift = 0.1 * expression.smile * (u**2 - 0.3)
    return np.column_stack([shift + half_width * u, y + v - lift, 0.23 - 0.2 * u**2 - 0.25 * np.maximum(v, 0.0)])


def _cranium(person: Proportions, brow_top: float) -> Points:
    angle = np.pi * np.linspace(0.06, 0.94, 11)
    x = -1.04 * np.cos(angle)
    y = _JAW_TOP + (brow_top - 0.7 * person.forehead - _JAW_TOP) * np.sin(angle) ** 0.9
    return np.column_stack([x, y, -0.45 + 0.15 * np.sin(angle)])


def _ears(person: Proportions) -> Points:
    anchor = np.array([-0.94, 0.15])
    left = np.column_stack([anchor + person.ear * (_EAR - anchor), np.full(len(_EAR), -0.6)])
    return np.stack([left, left * np.array([-1.0, 1.0, 1.0])])
