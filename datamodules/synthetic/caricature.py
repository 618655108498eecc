"""Style ``caricature``: exaggerated shapes in flat, saturated colours with thick dark outlines."""

from typing import Final

import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import curves
from datamodules.synthetic.anatomy import Points
from datamodules.synthetic.canvas import Canvas, Colour, colours, jitter, mix, pick
from datamodules.synthetic.geometry import FaceGeometry, Variety

VARIETY: Final = Variety(
    amount=1.9,
    picked=6,
    push=(3.0, 6.0),
    bias={"eye_height": 0.25, "eye_width": 0.1, "ear": 0.25},
    pose=(12.0, 6.0, 9.0),
    expression=1.6,
    asymmetry=0.16,
    bend=0.17,
    fill=(0.6, 0.8),
)

_SKINS = colours("#ffcc99 #ffb266 #ffe082 #f08c64 #ffaabe #965a32 #82dc78 #78c8f0")
_BRIGHTS = colours("#e62832 #fa9614 #ffe128 #32b446 #1482dc #783cbe #f05aaa #14bebe #f5f5f0")
_INKS = colours("#0a080c #1e0a14 #0a0e2c #2c1408")


def render(face: FaceGeometry, rng: np.random.Generator) -> ByteArray:
    """Draw the face.

    Args:
        face: the positions of all parts.
        rng: source of colours, patterns and line widths.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    canvas = _background(face.size, rng)
    pen = _Pen(canvas, pick(rng, _INKS), (0.04 + 0.045 * float(rng.random())) * face.scale)
    skin, hair = jitter(rng, pick(rng, _SKINS), 12), jitter(rng, pick(rng, (*_BRIGHTS, *_INKS)), 12)
    _behind(pen, face, rng, skin, hair)
    outline = curves.head(face)
    head = canvas.shape(outline)
    canvas.paint(head, skin)
    if rng.random() < 0.5:
        shift = np.array([(0.28 if rng.random() < 0.5 else -0.28) * face.scale, -0.06 * face.scale])
        canvas.paint(head.without(canvas.shape(outline + shift)), mix(skin, (90, 0, 60), 0.25))
    for side in (0, 1):
        if rng.random() < 0.3:
            cheek = 0.45 * face.landmarks[31 + 4 * side] + 0.55 * face.landmarks[3 + 10 * side]
            canvas.fill(curves.circle(cheek, 0.13 * face.scale), mix(skin, (255, 60, 70), 0.5))
    pen.line(outline)
    _nose(pen, face, rng, skin)
    _eyes(pen, face, rng, skin)
    _mouth(pen, face, rng, skin)
    _hair_and_brows(pen, face, rng, hair)
    return canvas.pixels


class _Pen:
    """Fills and inks shapes on a canvas with one line width."""

    def __init__(self, canvas: Canvas, ink: Colour, width: float) -> None:
        self.canvas, self.ink, self.width = canvas, ink, width

    def line(self, points: Points, weight: float = 1.0, closed: bool = False) -> None:
        self.canvas.paint(self.canvas.line([points], weight * self.width, closed=closed, minimum=0.75), self.ink)

    def shape(self, points: Points, colour: Colour, weight: float = 1.0) -> None:
        self.canvas.fill(points, colour)
        self.line(points, weight, closed=True)


def _background(size: int, rng: np.random.Generator) -> Canvas:
    """Plain, stripes, rays, dots or squares in bright colours."""
    first, second = jitter(rng, pick(rng, _BRIGHTS), 20), jitter(rng, pick(rng, _BRIGHTS), 20)
    canvas = Canvas(np.full((size, size, 3), first, np.uint8))
    kind, pitch = int(rng.random() * 5), size * (0.06 + 0.1 * float(rng.random()))
    rows, columns = np.indices((size, size)) - size * rng.random(2)[:, None, None]
    if kind == 1:
        slope = 2 * float(rng.random()) - 1
        inside = np.floor((columns + slope * rows) / pitch) % 2 == 0
    elif kind == 2:
        inside = ((columns % (2 * pitch)) - pitch) ** 2 + ((rows % (2 * pitch)) - pitch) ** 2 < (0.6 * pitch) ** 2
    elif kind == 3:
        inside = (np.floor(rows / pitch) + np.floor(columns / pitch)) % 2 == 0
    elif kind == 4:
        corners = size * (np.array([0.5, 0.5]) + 1.5 * _directions(24, float(rng.random())))
        for k in range(0, 24, 2):
            canvas.fill(np.stack([np.array([size / 2, size / 2]), corners[k], corners[k + 1]]), second)
        return canvas
    else:
        return canvas
    canvas.pixels[inside] = second
    return canvas


def _directions(count: int, start: float) -> Points:
    angle = 2 * np.pi * (np.arange(count) + start) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _behind(pen: _Pen, face: FaceGeometry, rng: np.random.Generator, skin: Colour, hair: Colour) -> None:
    if rng.random() < 0.35:
        pen.shape(curves.long_hair(face, 0.15 + 0.3 * float(rng.random()), 0.4 + 0.8 * float(rng.random())), hair)
    neck = curves.neck(face, 0.25 + 0.4 * float(rng.random()))
    pen.shape(neck, mix(skin, (80, 0, 40), 0.2))
    pen.shape(neck[2:6] + np.array([0.0, 0.1 * face.scale]), pick(rng, _BRIGHTS))
    for side in (0, 1):
        ear = curves.smooth(face.ears[side], closed=True)
        pen.shape(ear, skin)
        pen.line((0.55 * ear + 0.45 * ear.mean(0))[: len(ear) // 2 + 8], 0.5)


def _nose(pen: _Pen, face: FaceGeometry, rng: np.random.Generator, skin: Colour) -> None:
    landmarks = face.landmarks
    tone = mix(skin, (255, 40, 40), 0.45 * float(rng.random()))
    wings = [curves.nose_wing(face, side) for side in (0, 1)]
    bulb = np.concatenate([wings[0], curves.nose_base(face)[1:-1], wings[1][::-1]])
    pen.canvas.fill(bulb, tone)
    start = 0 if rng.random() < 0.5 else 8
    pen.line(curves.nose_bridge(face)[start:], 0.55)
    pen.line(bulb, 0.75)
    for side in (0, 1):
        pen.canvas.fill(curves.nostril(face, side), pen.ink)
    glint = 0.8 * landmarks[30] + 0.2 * landmarks[33]
    pen.canvas.fill(curves.ellipse(glint, (0.05 * face.scale, 0.04 * face.scale)), mix(tone, (255, 255, 255), 0.7))


def _eyes(pen: _Pen, face: FaceGeometry, rng: np.random.Generator, skin: Colour) -> None:
    canvas = pen.canvas
    white = pick(rng, ((255, 255, 255), (255, 255, 255), (255, 250, 200)))
    iris, share = pick(rng, _BRIGHTS[:-1]), 0.35 + 0.5 * float(rng.random())
    size = 0.75 + 0.4 * float(rng.random())
    for side in (0, 1):
        outline = curves.eye(face, side)
        ball = canvas.shape(outline)
        canvas.paint(ball, white)
        centre, radius = face.irises[side], size * float(face.iris_radii[side])
        canvas.fill(curves.circle(centre, radius), iris, within=ball)
        canvas.fill(curves.circle(centre, share * radius), pen.ink, within=ball)
        pen.line(outline, 0.6, closed=True)
        pen.line(curves.eye_lids(face, side)[0], 1.0)


def _mouth(pen: _Pen, face: FaceGeometry, rng: np.random.Generator, skin: Colour) -> None:
    canvas = pen.canvas
    outer, (top, bottom) = np.concatenate(curves.outer_lips(face)), curves.inner_lips(face)
    lips = pick(rng, ((220, 20, 50), (240, 60, 110), (170, 20, 60), mix(skin, (200, 0, 30), 0.45)))
    pen.shape(outer, jitter(rng, lips, 16), 0.6)
    gap = canvas.shape(np.concatenate([top, bottom]))
    canvas.paint(gap, mix(pen.ink, (110, 0, 10), 0.4))
    half_open = 0.5 * (face.landmarks[66] - face.landmarks[62])
    if rng.random() < 0.7:
        canvas.fill(np.concatenate([top, (top + half_open)[::-1]]), (255, 255, 250), within=gap)
    pen.line(np.concatenate([top, bottom]), 0.5, closed=True)


def _hair_and_brows(pen: _Pen, face: FaceGeometry, rng: np.random.Generator, hair: Colour) -> None:
    if rng.random() < 0.85:
        cap = curves.hair_cap(face, 0.55 + 0.25 * float(rng.random()), 0.05 + 0.5 * float(rng.random()))
        if rng.random() < 0.4:
            spikes = 1.0 + 0.25 * float(rng.random()) * (np.arange(len(cap)) // 4 % 2)[:, None]
            spikes[len(cap) // 2 :] = 1.0
            cap = cap.mean(0) + spikes * (cap - cap.mean(0))
        pen.shape(cap, hair)
    thick = (0.05 + 0.12 * float(rng.random())) * face.scale
    for side in (0, 1):
        line = curves.brow(face, side)
        profile = np.sin(np.pi * np.linspace(0.1, 0.9, len(line))) ** 0.5 * thick
        pen.canvas.fill(curves.ribbon(line, profile), mix(hair, pen.ink, 0.75))
