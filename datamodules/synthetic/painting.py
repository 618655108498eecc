"""Style ``painting``: faces in a few pigments, laid down in brush strokes and hatching on a woven canvas."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import curves
from datamodules.synthetic.anatomy import Points
from datamodules.synthetic.canvas import Canvas, Colour, Mask, clouds, colours, jitter, mix, pick
from datamodules.synthetic.geometry import FaceGeometry, Variety

VARIETY: Final = Variety(
    amount=1.5,
    picked=2,
    push=(2.0, 4.0),
    bias={
        "face_width": -0.2,
        "nose_length": 0.22,
        "nose_width": -0.15,
        "eye_height": -0.1,
        "mouth_width": -0.16,
        "chin_height": 0.15,
        "forehead": 0.15,
    },
    pose=(15.0, 7.0, 10.0),
    expression=0.8,
    asymmetry=0.1,
    bend=0.1,
    fill=(0.55, 0.78),
)


@dataclass(frozen=True)
class _Palette:
    """Colours of skin in light and in shadow, of lines, hair and lips, and of the background."""

    light: Colour
    shadow: Colour
    ink: Colour
    hair: Colour
    lips: Colour
    ground: tuple[Colour, ...]


def _palette(pigments: str, ground: str) -> _Palette:
    light, shadow, ink, hair, lips = colours(pigments)
    return _Palette(light, shadow, ink, hair, lips, colours(ground))


_PALETTES: Final = (
    _palette("#e2c8a0 #785432 #3a2212 #54361e #966442", "#c4a87c #a08054"),
    _palette("#a8c4d6 #2c4e7c #0e1a38 #18284e #606ea0", "#243e68 #466892 #18284c"),
    _palette("#fabe5a #1e8c6e #6e143c #3c288c #e02832", "#f06e3c #3ca0be #e6c83c"),
    _palette("#d6ba8c #544228 #1e160e #2e2014 #8c4232", "#282216 #40341e #1a1812"),
    _palette("#ced6aa #5a6e60 #282c32 #6e5032 #a05a5a", "#96aa8c #beb482 #6e8282"),
    _palette("#d8d4cc #6e6c6a #222224 #464446 #827e7c", "#b0aca6 #8c8a86"),
    _palette("#ecaaaa #963c6e #46143c #be5a28 #b41e46", "#aabe6e #dca096 #6e8caa"),
)


def render(face: FaceGeometry, rng: np.random.Generator) -> ByteArray:
    """Draw the face.

    Args:
        face: the positions of all parts.
        rng: source of the palette, the light and the strokes.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    palette = _PALETTES[int(rng.random() * len(_PALETTES))]
    canvas = Canvas(clouds(rng, face.size, 4, palette.ground, 16))
    light = np.array([1.0 if rng.random() < 0.5 else -1.0, -0.35])
    shadow = _underpainting(canvas, face, rng, palette, light)
    _brush(canvas, face, rng)
    if rng.random() < 0.5:
        _hatch(canvas, face, rng, shadow, palette.ink)
    _features(canvas, face, rng, palette)
    return _weave(canvas.pixels, rng)


def _underpainting(
    canvas: Canvas, face: FaceGeometry, rng: np.random.Generator, palette: _Palette, light: Points
) -> Mask:
    """Lay in hair, neck, head and its shadow in flat tones; returns the shadow's mask."""
    unit = face.scale
    skin, shade = jitter(rng, palette.light, 10), jitter(rng, palette.shadow, 10)
    hair = jitter(rng, palette.hair, 12)
    if rng.random() < 0.5:
        length = 0.4 + 0.9 * float(rng.random())
        canvas.fill(curves.long_hair(face, 0.08 + 0.2 * float(rng.random()), length), hair)
    neck = curves.neck(face, 0.5)
    canvas.fill(neck, mix(skin, shade, 0.6))
    canvas.fill(neck[2:6] + np.array([0.0, 0.15 * unit]), jitter(rng, pick(rng, (*palette.ground, palette.ink)), 30))
    for side in (0, 1):
        canvas.fill(curves.smooth(face.ears[side], closed=True), mix(skin, shade, 0.5))
    outline = curves.head(face)
    head = canvas.shape(outline)
    canvas.paint(head, skin)
    shadow = head.without(canvas.shape(outline + (0.3 + 0.2 * float(rng.random())) * unit * light, 0.05 * unit))
    canvas.paint(shadow, shade, 0.85)
    landmarks = face.landmarks
    for side in (0, 1):
        eye = landmarks[36 + 6 * side : 42 + 6 * side].mean(0)
        socket = curves.ellipse(0.7 * eye + 0.3 * landmarks[22 if side else 21], (0.28 * unit, 0.17 * unit), face.roll)
        canvas.fill(socket, mix(skin, shade, 0.6), 0.8, feather=1.0, within=head)
    dark_side = np.concatenate([landmarks[27:31], landmarks[[31 if light[0] > 0 else 35]]])
    canvas.fill(dark_side, shade, 0.9, feather=0.5)
    if rng.random() < 0.85:
        cap = curves.hair_cap(face, 0.45 + 0.35 * float(rng.random()), 0.05 + 0.25 * float(rng.random()))
        canvas.fill(cap, hair)
    return shadow


def _brush(canvas: Canvas, face: FaceGeometry, rng: np.random.Generator) -> None:
    """Go over the picture with short strokes that take up its colours, along the face's roundness or one direction."""
    size, count = face.size, 520
    source = canvas.pixels.copy()
    spots = rng.random((count, 2)) * size
    centre = face.landmarks.mean(0)
    around = np.arctan2(spots[:, 1] - centre[1], spots[:, 0] - centre[0]) + np.pi / 2
    share, fixed = float(rng.random() < 0.6), np.pi * float(rng.random())
    angle = share * around + (1 - share) * fixed + 0.7 * (rng.random(count) - 0.5)
    reach = (0.012 + 0.03 * rng.random((count, 1))) * size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    widths = np.maximum(1, np.round((0.008 + 0.016 * rng.random(count)) * size)).astype(int)
    tint = ((rng.random((count, 1)) - 0.5) * 40 + (rng.random((count, 3)) - 0.5) * 24).astype(np.int16)
    at = spots.astype(int)
    colours = np.clip(source[at[:, 1], at[:, 0]].astype(np.int16) + tint, 0, 255)
    starts = np.round((spots - reach) * 16).astype(int).tolist()
    ends = np.round((spots + reach) * 16).astype(int).tolist()
    for start, end, colour, width in zip(starts, ends, colours.tolist(), widths.tolist(), strict=True):
        cv2.line(canvas.pixels, start, end, colour, width, cv2.LINE_AA, 4)


def _hatch(canvas: Canvas, face: FaceGeometry, rng: np.random.Generator, shadow: Mask, ink: Colour) -> None:
    """Parallel strokes across the shadow."""
    size, angle = face.size, np.pi * (0.15 + 0.25 * float(rng.random()))
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    offsets = np.arange(-0.75 * size, 0.75 * size, (0.02 + 0.015 * float(rng.random())) * size)
    middle = np.array([size / 2, size / 2]) + offsets[:, None] * across
    lines = [np.stack([m - size * along, m + size * along]) for m in middle]
    canvas.stroke(lines, 0.005 * size, ink, 0.7, within=shadow)


def _features(canvas: Canvas, face: FaceGeometry, rng: np.random.Generator, palette: _Palette) -> None:
    """Draw eyes, brows, nose, mouth and contour with a brush that swells along the line."""
    unit = face.scale
    width = (0.035 + 0.03 * float(rng.random())) * unit
    lids = [curves.eye_lids(face, side) for side in (0, 1)]
    iris = mix(palette.ink, pick(rng, palette.ground), 0.25)
    for side in (0, 1):
        ball = canvas.shape(curves.eye(face, side))
        canvas.paint(ball, mix(palette.light, (255, 255, 255), 0.35))
        radius = 0.9 * float(face.iris_radii[side])
        canvas.fill(curves.circle(face.irises[side], radius), iris, within=ball)
    above, below = curves.outer_lips(face)
    top, bottom = curves.inner_lips(face)
    canvas.fill(np.concatenate([above, below]), jitter(rng, palette.lips, 14), 0.9)
    canvas.fill(np.concatenate([top, bottom]), mix(palette.ink, palette.lips, 0.25))
    nose = curves.nose_bridge(face)
    for line, weight in (
        (lids[0][0], 1.1), (lids[1][0], 1.1), (lids[0][1], 0.5), (lids[1][1], 0.5),
        (curves.brow(face, 0), 1.8), (curves.brow(face, 1), 1.8),
        (nose, 0.6), (curves.nose_base(face), 1.0), (curves.nose_wing(face, 0), 0.6), (curves.nose_wing(face, 1), 0.6),
        (top, 0.8), (above, 0.35), (below, 0.5), (curves.jaw(face), 0.8),
    ):  # fmt: skip
        profile = (0.45 + 0.55 * np.sin(np.pi * np.linspace(0, 1, len(line)))) * weight * width
        canvas.fill(curves.ribbon(line, np.maximum(profile, 0.6)), palette.ink, 0.85)
    if rng.random() < 0.5:
        canvas.stroke(
            [nose + np.array([0.04 * unit, 0.0])],
            0.04 * unit,
            mix(palette.light, (255, 255, 255), 0.4),
            0.7,
            feather=0.6,
        )


def _weave(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Darken the picture along the threads of a woven canvas."""
    size, period = len(pixels), 2 + int(rng.random() * 3)
    rows, columns = np.indices((2 * period, 2 * period))
    over = (rows // period + columns // period) % 2
    ridge = np.where(over == 0, rows % period, columns % period) * 2 >= period
    threads = np.tile(ridge, (size // (2 * period) + 1, size // (2 * period) + 1))[:size, :size]
    depth = 8 + int(rng.random() * 14)
    grain = rng.integers(0, 12, size=(size, size), dtype=np.int16)
    return np.clip(pixels.astype(np.int16) - (np.int16(depth) * threads + grain - 10)[..., None], 0, 255).astype(
        np.uint8
    )
