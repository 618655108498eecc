"""Style ``photo``: smoothly shaded faces in natural colours before blurred backgrounds."""

from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import curves
from datamodules.synthetic.canvas import Canvas, Colour, Mask, blur, clouds, jitter, mix, pick
from datamodules.synthetic.geometry import FaceGeometry, Variety

VARIETY: Final = Variety()

_SKINS: tuple[Colour, ...] = (
    (244, 212, 190),
    (232, 190, 160),
    (214, 166, 132),
    (182, 130, 96),
    (136, 92, 66),
    (92, 60, 44),
)
_HAIRS: tuple[Colour, ...] = (
    (24, 20, 20),
    (48, 32, 24),
    (84, 56, 34),
    (130, 92, 52),
    (190, 156, 100),
    (150, 148, 146),
    (110, 52, 28),
)
_IRISES: tuple[Colour, ...] = ((70, 44, 26), (92, 66, 36), (84, 110, 132), (90, 112, 80), (48, 34, 28))
_SCENES: tuple[tuple[Colour, ...], ...] = (
    ((84, 110, 70), (130, 150, 100), (50, 70, 46), (176, 196, 200)),
    ((196, 206, 216), (150, 170, 190), (226, 226, 222)),
    ((120, 100, 84), (70, 58, 50), (170, 150, 126), (40, 36, 36)),
    ((60, 64, 74), (100, 104, 112), (34, 36, 44), (150, 130, 110)),
    ((206, 196, 180), (230, 226, 218), (170, 160, 150)),
)
_CLOTHES: tuple[Colour, ...] = ((40, 44, 56), (120, 40, 44), (210, 208, 204), (60, 84, 110), (90, 90, 80), (30, 60, 50))


def render(face: FaceGeometry, rng: np.random.Generator) -> ByteArray:
    """Draw the face.

    Args:
        face: where everything is.
        rng: source of colours, light and hair.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    canvas = Canvas(clouds(rng, face.size, 5, _SCENES[int(rng.random() * len(_SCENES))], 24))
    skin = jitter(rng, mix(pick(rng, _SKINS), pick(rng, _SKINS), 0.5 * float(rng.random())), 8)
    hair = jitter(rng, pick(rng, _HAIRS), 8)
    angle = -np.pi * float(rng.random())
    light = np.array([np.cos(angle), 0.8 * np.sin(angle) - 0.1])
    strength = 0.25 + 0.4 * float(rng.random())

    _behind(canvas, face, rng, skin, hair)
    head = canvas.shape(curves.head(face), feather=0.4)
    canvas.paint(head, skin)
    _shade_head(canvas, face, head, light, strength, skin)
    if rng.random() < 0.2:
        _beard(canvas, face, head, hair, 0.25 + 0.4 * float(rng.random()))
    _nose(canvas, face, light, strength, skin)
    iris = pick(rng, _IRISES)
    for side in (0, 1):
        _eye(canvas, face, side, skin, iris)
        _brow(canvas, face, side, mix(hair, (40, 28, 22), 0.45), rng)
    _mouth(canvas, face, skin, rng)
    if rng.random() < 0.9:
        _front_hair(canvas, face, rng, hair, light)
    return _expose(canvas.pixels, rng)


def _lit(skin: Colour) -> Colour:
    """Skin in full light; dark skin shines less white."""
    return mix(skin, (255, 246, 232), 0.25 + 0.5 * sum(skin) / 765)


def _behind(canvas: Canvas, face: FaceGeometry, rng: np.random.Generator, skin: Colour, hair: Colour) -> None:
    """Long hair, shoulders, neck and ears."""
    if rng.random() < 0.4:
        length = 0.5 + float(rng.random())
        canvas.paint(
            canvas.shape(curves.long_hair(face, 0.1 + 0.15 * float(rng.random()), length), 1.0),
            mix(hair, (0, 0, 0), 0.3),
        )
    neck = curves.neck(face, 0.85)
    canvas.paint(canvas.shape(neck, 0.8), mix(skin, (40, 16, 10), 0.38))
    clothes = canvas.shape(neck[2:6] + np.array([0.0, 0.02 * face.scale]), 0.8)
    canvas.paint(clothes, jitter(rng, pick(rng, _CLOTHES), 16))
    for side in (0, 1):
        ear = curves.smooth(face.ears[side], closed=True)
        canvas.paint(canvas.shape(ear, 0.5), mix(skin, (90, 30, 20), 0.22))
        canvas.paint(
            canvas.shape(0.55 * ear + 0.45 * ear.mean(0), 0.05 * face.scale), mix(skin, (60, 20, 14), 0.45), 0.6
        )


def _shade_head(
    canvas: Canvas, face: FaceGeometry, head: Mask, light: np.ndarray, strength: float, skin: Colour
) -> None:
    """Light from one side, a dark rim, warm cheeks and sunken eye sockets."""
    outline, unit = curves.head(face), face.scale
    dark, bright = mix(skin, (30, 12, 10), 0.7), _lit(skin)
    lit = canvas.shape(outline + 0.34 * unit * light, 0.3 * unit)
    canvas.paint(head.without(lit), dark, strength + 0.2)
    canvas.paint(head.without(canvas.shape(0.93 * outline + 0.07 * outline.mean(0), 0.1 * unit)), dark, 0.5)
    landmarks = face.landmarks
    for side in (0, 1):
        eye = landmarks[36 + 6 * side : 42 + 6 * side].mean(0)
        cheek = 0.5 * eye + 0.5 * landmarks[54 if side else 48] + 0.12 * (landmarks[14 if side else 2] - landmarks[33])
        canvas.paint(
            canvas.shape(curves.ellipse(cheek, (0.2 * unit, 0.17 * unit)), 0.1 * unit).within(head),
            mix(skin, (214, 84, 70), 0.5),
            0.3,
        )
        glow = cheek + 0.1 * unit * light
        canvas.paint(
            canvas.shape(curves.ellipse(glow, (0.13 * unit, 0.1 * unit)), 0.08 * unit).within(head), bright, 0.35
        )
        socket = curves.ellipse(
            0.75 * eye + 0.25 * landmarks[22 if side else 21], (0.26 * unit, 0.14 * unit), face.roll
        )
        canvas.paint(canvas.shape(socket, 0.07 * unit).within(head), dark, 0.32)
    forehead = 0.6 * landmarks[[21, 22]].mean(0) + 0.4 * face.cranium[5] + 0.15 * unit * light
    canvas.paint(
        canvas.shape(curves.ellipse(forehead, (0.35 * unit, 0.16 * unit)), 0.12 * unit).within(head), bright, 0.4
    )


def _beard(canvas: Canvas, face: FaceGeometry, head: Mask, hair: Colour, opacity: float) -> None:
    lower = np.concatenate([face.landmarks[2:15], face.landmarks[[54, 33, 48]]])
    canvas.paint(canvas.shape(curves.smooth(lower, closed=True), 0.07 * face.scale).within(head), hair, opacity)


def _nose(canvas: Canvas, face: FaceGeometry, light: np.ndarray, strength: float, skin: Colour) -> None:
    unit, landmarks = face.scale, face.landmarks
    dark, bright = mix(skin, (40, 14, 10), 0.65), _lit(skin)
    away = 1 if light[0] < 0 else 0
    side = np.concatenate([landmarks[27:31], landmarks[[35 if away else 31]], landmarks[[42 if away else 39]]])
    canvas.paint(canvas.shape(side, 0.05 * unit), dark, 0.25 + 0.4 * strength)
    below = np.concatenate([landmarks[31:36], landmarks[31:36][::-1] + 0.12 * (landmarks[51] - landmarks[33])])
    canvas.paint(canvas.shape(below, 0.03 * unit), dark, 0.6)
    canvas.paint(canvas.line([curves.nose_bridge(face)], 0.07 * unit, 0.035 * unit), bright, 0.6)
    canvas.paint(canvas.shape(curves.ellipse(landmarks[30], (0.07 * unit, 0.06 * unit)), 0.03 * unit), bright, 0.75)
    canvas.paint(canvas.line([curves.nose_wing(face, s) for s in (0, 1)], 0.025 * unit, 0.4), dark, 0.65)
    canvas.paint(canvas.line([curves.nose_base(face)], 0.03 * unit, 0.4), dark, 0.6)
    for s in (0, 1):
        canvas.paint(canvas.shape(curves.nostril(face, s), 0.4), mix(dark, (20, 6, 4), 0.7), 0.9)


def _eye(canvas: Canvas, face: FaceGeometry, side: int, skin: Colour, iris: Colour) -> None:
    unit, outline = face.scale, curves.eye(face, side)
    upper, lower = curves.eye_lids(face, side)
    white = canvas.shape(outline)
    canvas.paint(white, (232, 226, 222))
    centre, radius = face.irises[side], float(face.iris_radii[side])
    canvas.paint(canvas.shape(curves.ellipse(centre, (radius, radius))).within(white), mix(iris, (0, 0, 0), 0.35))
    canvas.paint(canvas.shape(curves.ellipse(centre, (0.8 * radius, 0.8 * radius))).within(white), iris)
    canvas.paint(canvas.shape(curves.ellipse(centre, (0.5 * radius, 0.5 * radius))).within(white), (12, 8, 8))
    glint = centre + np.array([-0.3, -0.35]) * radius
    canvas.paint(canvas.shape(curves.ellipse(glint, (0.2 * radius, 0.2 * radius))).within(white), (255, 255, 255), 0.9)
    canvas.paint(
        canvas.line([upper + np.array([0.0, 0.03 * unit])], 0.05 * unit, 0.02 * unit).within(white), (30, 20, 18), 0.5
    )
    canvas.paint(canvas.line([upper], 0.03 * unit), (28, 18, 16), 0.9)
    canvas.paint(canvas.line([lower], 0.014 * unit), mix(skin, (50, 16, 12), 0.7), 0.8)
    crease = upper + 0.3 * (face.landmarks[24 if side else 19] - face.landmarks[37 + 6 * side])
    canvas.paint(canvas.line([crease], 0.014 * unit, 0.5), mix(skin, (50, 20, 14), 0.6), 0.6)


def _brow(canvas: Canvas, face: FaceGeometry, side: int, colour: Colour, rng: np.random.Generator) -> None:
    line = curves.brow(face, side)
    thick = (0.05 + 0.05 * float(rng.random())) * face.scale
    profile = np.sin(np.pi * np.linspace(0.08, 0.92, len(line))) ** 0.6 * thick
    canvas.paint(canvas.shape(curves.ribbon(line, profile), 0.5), colour, 0.9)


def _mouth(canvas: Canvas, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    unit, (above, below), (top, bottom) = face.scale, curves.outer_lips(face), curves.inner_lips(face)
    lips = jitter(rng, mix(skin, (164, 48, 56), 0.22 + 0.42 * float(rng.random())), 10)
    whole = canvas.shape(np.concatenate([above, below]), 0.35)
    gap = canvas.shape(np.concatenate([top, bottom]))
    canvas.paint(whole, lips)
    canvas.paint(canvas.shape(np.concatenate([above, top[::-1]]), 0.3).within(whole), mix(lips, (40, 8, 10), 0.25))
    shine = 0.5 * below[6:-6] + 0.5 * bottom[::-1][np.linspace(0, len(bottom) - 1, len(below) - 12).astype(int)][::-1]
    canvas.paint(canvas.line([shine], 0.03 * unit, 0.025 * unit).within(whole), (255, 232, 226), 0.4)
    canvas.paint(gap, (52, 14, 16))
    half_open = 0.5 * (face.landmarks[66] - face.landmarks[62])
    if rng.random() < 0.7 and float(np.linalg.norm(half_open)) > 0.03 * unit:
        canvas.paint(canvas.shape(np.concatenate([top, (top + 0.7 * half_open)[::-1]])).within(gap), (226, 220, 208))
    tongue = curves.ellipse(face.landmarks[66], (0.17 * unit, 0.55 * float(np.linalg.norm(half_open))), face.roll)
    canvas.paint(canvas.shape(tongue, 0.5).within(gap), (168, 72, 72), 0.8)
    canvas.paint(canvas.line([top], 0.02 * unit), (60, 16, 18), 0.8)
    chin_fold = 0.6 * face.landmarks[57] + 0.4 * face.landmarks[8]
    canvas.paint(
        canvas.shape(curves.ellipse(chin_fold, (0.2 * unit, 0.03 * unit), face.roll), 0.03 * unit),
        mix(skin, (50, 20, 14), 0.6),
        0.4,
    )


def _front_hair(canvas: Canvas, face: FaceGeometry, rng: np.random.Generator, hair: Colour, light: np.ndarray) -> None:
    """A cap of hair with strands."""
    volume = 0.04 + 0.24 * float(rng.random())
    cap = curves.hair_cap(face, 0.5 + 0.3 * float(rng.random()), volume)
    mask = canvas.shape(cap, 0.6)
    canvas.paint(mask, hair)
    half = len(cap) // 2
    outer, inner = cap[:half], cap[half:][::-1]
    starts = (rng.random(36) * (half - 1)).astype(int)
    ends = np.clip(starts + ((rng.random(36) - 0.5) * 6).astype(int), 0, half - 1)
    strands = [np.stack([inner[min(a, len(inner) - 1)], outer[b]]) for a, b in zip(starts, ends, strict=True)]
    canvas.paint(canvas.line(strands[:18], 0.02 * face.scale, 0.5).within(mask), mix(hair, (255, 240, 210), 0.35), 0.5)
    canvas.paint(canvas.line(strands[18:], 0.025 * face.scale, 0.5).within(mask), mix(hair, (0, 0, 0), 0.6), 0.5)
    lit = canvas.shape(cap + 0.25 * face.scale * light, 0.12 * face.scale)
    canvas.paint(mask.without(lit), mix(hair, (0, 0, 0), 0.7), 0.5)


def _expose(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """The lens's slight blur, exposure, and the sensor's noise."""
    pixels = blur(pixels, 0.35 + 0.5 * float(rng.random()))
    gain, lift = 0.8 + 0.35 * float(rng.random()), 24 * (float(rng.random()) - 0.5)
    table = np.clip(np.round(np.arange(256) * gain + lift), 0, 255).astype(np.uint8)
    grain = rng.integers(0, 256, size=pixels.shape, dtype=np.uint8).astype(np.int16) - 128
    noise = grain * round(4 + 8 * float(rng.random())) >> 7
    return np.clip(np.asarray(cv2.LUT(pixels, table)).astype(np.int16) + noise, 0, 255).astype(np.uint8)
