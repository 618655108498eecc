"""Style ``photo``: smoothly shaded faces in natural colours before blurred backgrounds."""

from typing import Final

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import curves
from datamodules.synthetic.canvas import Canvas, Colour, Mask, blur, clouds, colours, jitter, mix, pick
from datamodules.synthetic.geometry import FaceGeometry, Variety

VARIETY: Final = Variety()

_SKINS = colours("#f4d4be #e8bea0 #d6a684 #b68260 #885c42 #5c3c2c")
_HAIRS = colours("#181414 #302018 #543822 #825c34 #be9c64 #969492 #6e341c")
_IRISES = colours("#462c1a #5c4224 #546e84 #5a7050 #30221c")
_SCENES = (
    colours("#546e46 #829664 #32462e #b0c4c8"),
    colours("#c4ced8 #96aabe #e2e2de"),
    colours("#786454 #463a32 #aa967e #282424"),
    colours("#3c404a #646870 #22242c #96826e"),
    colours("#cec4b4 #e6e2da #aaa096"),
)
_CLOTHES = colours("#282c38 #78282c #d2d0cc #3c546e #5a5a50 #1e3c32")


def render(face: FaceGeometry, rng: np.random.Generator) -> ByteArray:
    """Draw the face.

    Args:
        face: the positions of all parts.
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
        canvas.fill(
            curves.long_hair(face, 0.1 + 0.15 * float(rng.random()), length), mix(hair, (0, 0, 0), 0.3), feather=1.0
        )
    neck = curves.neck(face, 0.85)
    canvas.fill(neck, mix(skin, (40, 16, 10), 0.38), feather=0.8)
    clothes = canvas.shape(neck[2:6] + np.array([0.0, 0.02 * face.scale]), 0.8)
    canvas.paint(clothes, jitter(rng, pick(rng, _CLOTHES), 16))
    for side in (0, 1):
        ear = curves.smooth(face.ears[side], closed=True)
        canvas.fill(ear, mix(skin, (90, 30, 20), 0.22), feather=0.5)
        canvas.fill(0.55 * ear + 0.45 * ear.mean(0), mix(skin, (60, 20, 14), 0.45), 0.6, feather=0.05 * face.scale)


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
        canvas.fill(
            curves.ellipse(cheek, (0.2 * unit, 0.17 * unit)),
            mix(skin, (214, 84, 70), 0.5),
            0.3,
            feather=0.1 * unit,
            within=head,
        )
        glow = cheek + 0.1 * unit * light
        canvas.fill(curves.ellipse(glow, (0.13 * unit, 0.1 * unit)), bright, 0.35, feather=0.08 * unit, within=head)
        socket = curves.ellipse(
            0.75 * eye + 0.25 * landmarks[22 if side else 21], (0.26 * unit, 0.14 * unit), face.roll
        )
        canvas.fill(socket, dark, 0.32, feather=0.07 * unit, within=head)
    forehead = 0.6 * landmarks[[21, 22]].mean(0) + 0.4 * face.cranium[5] + 0.15 * unit * light
    canvas.fill(curves.ellipse(forehead, (0.35 * unit, 0.16 * unit)), bright, 0.4, feather=0.12 * unit, within=head)


def _beard(canvas: Canvas, face: FaceGeometry, head: Mask, hair: Colour, opacity: float) -> None:
    lower = np.concatenate([face.landmarks[2:15], face.landmarks[[54, 33, 48]]])
    canvas.fill(curves.smooth(lower, closed=True), hair, opacity, feather=0.07 * face.scale, within=head)


def _nose(canvas: Canvas, face: FaceGeometry, light: np.ndarray, strength: float, skin: Colour) -> None:
    unit, landmarks = face.scale, face.landmarks
    dark, bright = mix(skin, (40, 14, 10), 0.65), _lit(skin)
    away = 1 if light[0] < 0 else 0
    side = np.concatenate([landmarks[27:31], landmarks[[35 if away else 31]], landmarks[[42 if away else 39]]])
    canvas.fill(side, dark, 0.25 + 0.4 * strength, feather=0.05 * unit)
    below = np.concatenate([landmarks[31:36], landmarks[31:36][::-1] + 0.12 * (landmarks[51] - landmarks[33])])
    canvas.fill(below, dark, 0.6, feather=0.03 * unit)
    canvas.stroke([curves.nose_bridge(face)], 0.07 * unit, bright, 0.6, feather=0.035 * unit)
    canvas.fill(curves.ellipse(landmarks[30], (0.07 * unit, 0.06 * unit)), bright, 0.75, feather=0.03 * unit)
    canvas.stroke([curves.nose_wing(face, s) for s in (0, 1)], 0.025 * unit, dark, 0.65, feather=0.4)
    canvas.stroke([curves.nose_base(face)], 0.03 * unit, dark, 0.6, feather=0.4)
    for s in (0, 1):
        canvas.fill(curves.nostril(face, s), mix(dark, (20, 6, 4), 0.7), 0.9, feather=0.4)


def _eye(canvas: Canvas, face: FaceGeometry, side: int, skin: Colour, iris: Colour) -> None:
    unit, outline = face.scale, curves.eye(face, side)
    upper, lower = curves.eye_lids(face, side)
    white = canvas.shape(outline)
    canvas.paint(white, (232, 226, 222))
    centre, radius = face.irises[side], float(face.iris_radii[side])
    canvas.fill(curves.circle(centre, radius), mix(iris, (0, 0, 0), 0.35), within=white)
    canvas.fill(curves.circle(centre, 0.8 * radius), iris, within=white)
    canvas.fill(curves.circle(centre, 0.5 * radius), (12, 8, 8), within=white)
    glint = centre + np.array([-0.3, -0.35]) * radius
    canvas.fill(curves.circle(glint, 0.2 * radius), (255, 255, 255), 0.9, within=white)
    canvas.stroke(
        [upper + np.array([0.0, 0.03 * unit])], 0.05 * unit, (30, 20, 18), 0.5, feather=0.02 * unit, within=white
    )
    canvas.stroke([upper], 0.03 * unit, (28, 18, 16), 0.9)
    canvas.stroke([lower], 0.014 * unit, mix(skin, (50, 16, 12), 0.7), 0.8)
    crease = upper + 0.3 * (face.landmarks[24 if side else 19] - face.landmarks[37 + 6 * side])
    canvas.stroke([crease], 0.014 * unit, mix(skin, (50, 20, 14), 0.6), 0.6, feather=0.5)


def _brow(canvas: Canvas, face: FaceGeometry, side: int, colour: Colour, rng: np.random.Generator) -> None:
    line = curves.brow(face, side)
    thick = (0.05 + 0.05 * float(rng.random())) * face.scale
    profile = np.sin(np.pi * np.linspace(0.08, 0.92, len(line))) ** 0.6 * thick
    canvas.fill(curves.ribbon(line, profile), colour, 0.9, feather=0.5)


def _mouth(canvas: Canvas, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    unit, (above, below), (top, bottom) = face.scale, curves.outer_lips(face), curves.inner_lips(face)
    lips = jitter(rng, mix(skin, (164, 48, 56), 0.22 + 0.42 * float(rng.random())), 10)
    whole = canvas.shape(np.concatenate([above, below]), 0.35)
    gap = canvas.shape(np.concatenate([top, bottom]))
    canvas.paint(whole, lips)
    canvas.fill(np.concatenate([above, top[::-1]]), mix(lips, (40, 8, 10), 0.25), feather=0.3, within=whole)
    shine = 0.5 * below[6:-6] + 0.5 * bottom[::-1][np.linspace(0, len(bottom) - 1, len(below) - 12).astype(int)][::-1]
    canvas.stroke([shine], 0.03 * unit, (255, 232, 226), 0.4, feather=0.025 * unit, within=whole)
    canvas.paint(gap, (52, 14, 16))
    half_open = 0.5 * (face.landmarks[66] - face.landmarks[62])
    if rng.random() < 0.7 and float(np.linalg.norm(half_open)) > 0.03 * unit:
        canvas.fill(np.concatenate([top, (top + 0.7 * half_open)[::-1]]), (226, 220, 208), within=gap)
    tongue = curves.ellipse(face.landmarks[66], (0.17 * unit, 0.55 * float(np.linalg.norm(half_open))), face.roll)
    canvas.fill(tongue, (168, 72, 72), 0.8, feather=0.5, within=gap)
    canvas.stroke([top], 0.02 * unit, (60, 16, 18), 0.8)
    chin_fold = 0.6 * face.landmarks[57] + 0.4 * face.landmarks[8]
    canvas.fill(
        curves.ellipse(chin_fold, (0.2 * unit, 0.03 * unit), face.roll),
        mix(skin, (50, 20, 14), 0.6),
        0.4,
        feather=0.03 * unit,
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
    canvas.stroke(strands[:18], 0.02 * face.scale, mix(hair, (255, 240, 210), 0.35), 0.5, feather=0.5, within=mask)
    canvas.stroke(strands[18:], 0.025 * face.scale, mix(hair, (0, 0, 0), 0.6), 0.5, feather=0.5, within=mask)
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
