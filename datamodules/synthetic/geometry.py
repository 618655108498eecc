"""Random faces of a style: proportions, expression and pose, projected into the image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from datamodules.faces import FloatArray
from datamodules.synthetic.anatomy import Expression, Head, Points, Proportions, build_head

SUBPIXELS = 64
"""Landmarks are rounded to 1/64 pixel, so that rounding errors do not differ between machines."""

_SPREAD = {
    "face_width": 0.06,
    "cheek": 0.05,
    "jaw": 0.07,
    "chin_width": 0.1,
    "chin_height": 0.13,
    "forehead": 0.1,
    "eye_width": 0.07,
    "eye_height": 0.13,
    "eye_spacing": 0.05,
    "brow_gap": 0.16,
    "brow_width": 0.07,
    "brow_arch": 0.3,
    "nose_length": 0.08,
    "nose_width": 0.11,
    "nose_depth": 0.12,
    "lip_gap": 0.15,
    "mouth_width": 0.09,
    "upper_lip": 0.2,
    "lower_lip": 0.2,
    "ear": 0.13,
}
"""Standard deviation of the logarithm of each proportion among photographed people."""


@dataclass(frozen=True)
class Variety:
    """How a style's faces vary.

    Attributes:
        amount: spread of all proportions, relative to people's.
        picked: how many proportions are exaggerated, as a caricaturist does.
        push: by how many of people's standard deviations they are (smallest, largest).
        bias: mean logarithm of the proportions that the style alters; each face has 0 to 1.4 times it.
        pose: standard deviation of yaw, pitch and roll, in degrees.
        expression: strength of expressions, relative to people's.
        asymmetry: standard deviation of the logarithm of the ratio between the eyes' sizes.
        bend: standard deviation of a taper (top-heavy or bottom-heavy heads) and a sideways curve.
        fill: smallest and largest share of the image's side that the landmarks' longer side takes.
    """

    amount: float = 1.0
    picked: int = 0
    push: tuple[float, float] = (0.0, 0.0)
    bias: Mapping[str, float] = field(default_factory=dict)
    pose: tuple[float, float, float] = (12.0, 6.0, 7.0)
    expression: float = 1.0
    asymmetry: float = 0.02
    bend: float = 0.02
    fill: tuple[float, float] = (0.55, 0.76)


@dataclass
class FaceGeometry:
    """The positions of all parts of one face, in image pixels (zero-based, pixel centres at integers, y down).

    Attributes:
        size: side of the image.
        landmarks: shape ``(68, 2)``, float32, on a grid of ``1 / SUBPIXELS`` pixel.
        cranium: outline from the left temple over the top to the right temple, shape ``(11, 2)``.
        ears: outline of each ear, shape ``(2, 7, 2)``.
        irises: shape ``(2, 2)``.
        iris_radii: shape ``(2,)``.
        scale: pixels per face unit (half an average face's width).
        turn: sine of the yaw; positive when the nose points to the viewer's right.
        roll: in-plane rotation, radians, clockwise.
    """

    size: int
    landmarks: FloatArray
    cranium: Points
    ears: Points
    irises: Points
    iris_radii: Points
    scale: float
    turn: float
    roll: float


def sample_geometry(variety: Variety, rng: np.random.Generator, size: int, difficulty: float = 1.0) -> FaceGeometry:
    """Draw one face's geometry.

    Args:
        variety: the style's.
        rng: source of all randomness.
        size: side of the image in pixels.
        difficulty: factor on the spread of poses and expressions.

    Returns:
        The geometry, all landmarks inside the image.
    """
    person = _sample_proportions(variety, rng)
    expression = _sample_expression(variety, rng, difficulty)
    head = build_head(person, expression)
    _bend(head, variety.bend * _bell(rng), variety.bend * _bell(rng))
    limits = (math.radians(32.0), math.radians(20.0), math.radians(35.0))
    yaw, pitch, roll = (
        float(np.clip(math.radians(spread) * difficulty * _bell(rng), -limit, limit))
        for spread, limit in zip(variety.pose, limits, strict=True)
    )
    _turn(head, yaw, pitch)
    for outline in (head.landmarks[:17], head.cranium):
        _slide_outward(outline, head.landmarks[17:])
    return _place(head, yaw, roll, size, variety.fill, rng)


def _bell(rng: np.random.Generator) -> float:
    """A bell-shaped variate of mean 0 and variance 1 within ±3.

    A sum of uniforms rather than ``rng.normal``: it has no outliers, and numpy keeps the stream of uniforms the same
    from version to version.
    """
    return 2.0 * float(rng.random(3).sum() - 1.5)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _sample_proportions(variety: Variety, rng: np.random.Generator) -> Proportions:
    logs = {name: variety.amount * spread * _bell(rng) for name, spread in _SPREAD.items()}
    bias_strength = _uniform(rng, 0.0, 1.4)
    for name, bias in variety.bias.items():
        logs[name] += bias_strength * bias
    order = np.argsort(rng.random(len(_SPREAD)), kind="stable")
    names = list(_SPREAD)
    for k in order[: variety.picked]:
        sign = 1.0 if rng.random() < 0.65 else -0.7
        logs[names[k]] += sign * _uniform(rng, *variety.push) * _SPREAD[names[k]]
    return Proportions(**{name: math.exp(min(max(value, -0.75), 0.85)) for name, value in logs.items()})


def _sample_expression(variety: Variety, rng: np.random.Generator, difficulty: float) -> Expression:
    strength = variety.expression * difficulty
    openness = min(max(1.0 + 0.16 * strength * _bell(rng), 0.3), 1.45)
    if rng.random() < min(0.06 * strength, 0.1):
        openness = _uniform(rng, 0.06, 0.3)
    wink = 0.12 if rng.random() < 0.03 * strength else 1.0
    raised, frown = 0.045 * strength * _bell(rng), 0.02 * strength * _bell(rng)
    ratio = math.exp(0.5 * variety.asymmetry * _bell(rng))
    opens = rng.random() < 0.4 + 0.1 * strength
    return Expression(
        eyes_open=(openness, openness * wink),
        eye_scale=(ratio, 1.0 / ratio),
        eye_tilt=0.07 * variety.amount * _bell(rng),
        brows_raised=(raised + frown, raised - frown),
        brow_tilt=0.11 * strength * _bell(rng),
        mouth_open=min(_uniform(rng, 0.0, 0.3) * strength, 0.55) if opens else 0.0,
        smile=min(max(0.15 + 0.45 * strength * _bell(rng), -1.0), 1.3),
        mouth_shift=0.02 * strength * _bell(rng),
        gaze=(_uniform(rng, -1.0, 1.0), _uniform(rng, -1.0, 1.0)),
    )


def _parts(head: Head) -> list[Points]:
    return [getattr(head, f.name) for f in fields(head) if f.name != "iris_radii"]


def _bend(head: Head, taper: float, curve: float) -> None:
    """Widen or narrow the head towards the chin, and curve it sideways (in place)."""
    for points in _parts(head):
        y = points[..., 1] - 0.5
        points[..., 0] = points[..., 0] * np.clip(1.0 + taper * y, 0.4, 1.8) + 0.5 * curve * y**2


def _turn(head: Head, yaw: float, pitch: float) -> None:
    """Rotate about a point behind the nose, in place, with a mild perspective."""
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    for points in _parts(head):
        x, y, z = points[..., 0], points[..., 1] - 0.5, points[..., 2] + 0.2
        x, z = x * cos_yaw + z * sin_yaw, z * cos_yaw - x * sin_yaw
        y, z = y * cos_pitch - z * sin_pitch, z * cos_pitch + y * sin_pitch
        perspective = 7.0 / (7.0 - z)
        points[..., 0], points[..., 1], points[..., 2] = x * perspective, y * perspective, z


def _slide_outward(outline: Points, inner: Points, margin: float = 0.07) -> None:
    """Move the outline of a turned face outward, in place, so that it passes the inner points at about its height.

    The first half of the outline is its left side, the second half its right; its middle point is kept.
    """
    middle = len(outline) // 2
    for i in range(len(outline)):
        side = float(np.sign(i - middle))
        near = np.abs(inner[:, 1] - outline[i, 1]) < 0.2
        if side and near.any():
            limit = float((side * inner[near, 0]).max()) + margin
            outline[i, 0] = side * max(side * outline[i, 0], limit)


def _place(
    head: Head, yaw: float, roll: float, size: int, fill: tuple[float, float], rng: np.random.Generator
) -> FaceGeometry:
    """Roll, scale and shift the turned head into the image."""
    rotation = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    landmarks = head.landmarks[:, :2] @ rotation
    low, high = landmarks.min(0), landmarks.max(0)
    scale = _uniform(rng, *fill) * size / float((high - low).max())
    free = size - 1 - scale * (high - low)
    offset = free * (0.5 + 0.42 * (2.0 * rng.random(2) - 1.0)) - scale * low

    def project(points: Points) -> Points:
        on_grid: Points = np.round((scale * (points[..., :2] @ rotation) + offset) * SUBPIXELS) / SUBPIXELS
        return on_grid

    return FaceGeometry(
        size=size,
        landmarks=project(head.landmarks).astype(np.float32),
        cranium=project(head.cranium),
        ears=project(head.ears),
        irises=project(head.irises),
        iris_radii=scale * head.iris_radii,
        scale=scale,
        turn=math.sin(yaw),
        roll=roll,
    )
