"""Line charts: panels with axes, ticks and shaded stretches, and one legend for all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from callbacks.drawing import INK, PAPER, SHIFT, Colour
from datamodules.faces import ByteArray

COLOURS: Final[tuple[Colour, ...]] = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
)
"""Okabe and Ito's, which colour-blind people tell apart."""
SHADE: Final[Colour] = (232, 232, 232)
GRID: Final[Colour] = (200, 200, 200)

WIDTH: Final = 900
HEIGHT: Final = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 24, 56, 76
_TEXT = 22


@dataclass(frozen=True)
class Line:
    """A curve: its name in the legend, and points with x rising."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: above it.
        lines: curves; those of one name have one colour over all panels.
        shaded: stretches of the x axis.
    """

    title: str
    lines: Sequence[Line]
    shaded: Sequence[tuple[float, float]] = ()


def chart(panels: Sequence[Panel], x_label: str, y_label: str, notes: Sequence[str] = ()) -> ByteArray:
    """Panels side by side, two at most, then below each other, and a legend of all lines.

    Args:
        panels: at least one, with a point each.
        x_label: below each panel.
        y_label: above each panel's axis.
        notes: lines of text under the legend.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``.
    """
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    drawn = [_panel(panel, colours, x_label, y_label) for panel in panels]
    rows = [np.concatenate(drawn[k : k + 2], axis=1) for k in range(0, len(drawn), 2)]
    width = max(row.shape[1] for row in rows)
    parts = [*rows, _legend(colours, notes, width)]
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in parts]
    return np.concatenate(padded)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from just within ``low`` to just within ``high``."""
    least = max(high - low, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where values lie in a panel."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)


def _frame(panel: Panel) -> _Frame:
    xs, ys = zip(*(point for line in panel.lines for point in line.points), strict=True)
    margin = 0.06 * (max(ys) - min(ys)) or 0.5
    right = max(xs) if max(xs) > min(xs) else min(xs) + 1
    return _Frame((min(xs), right), (min(ys) - margin, max(ys) + margin))


def _panel(panel: Panel, colours: dict[str, Colour], x_label: str, y_label: str) -> ByteArray:
    frame = _frame(panel)
    canvas = np.full((HEIGHT, WIDTH, 3), PAPER, dtype=np.uint8)
    top, bottom = _TOP, HEIGHT - _BOTTOM
    for low, high in panel.shaded:
        left, right = (round(frame.place(min(max(x, frame.x[0]), frame.x[1]), 0)[0]) for x in (low, high))
        canvas[top:bottom, left:right] = SHADE
    labels: list[tuple[float, float, str, str]] = []
    for x in ticks(*frame.x):
        across = round(frame.place(x, 0)[0])
        canvas[bottom : bottom + 7, across - 1 : across + 1] = INK
        labels.append((across, bottom + 12, f"{x:g}", "mt"))
    for y in ticks(*frame.y):
        down = round(frame.place(frame.x[0], y)[1])
        canvas[down, _LEFT : WIDTH - _RIGHT] = GRID
        labels.append((_LEFT - 10, down, f"{y:g}", "rm"))
    for line in panel.lines:
        _curve(canvas, [frame.place(*point) for point in line.points], colours[line.name])
    canvas[bottom : bottom + 2, _LEFT : WIDTH - _RIGHT] = INK
    canvas[top:bottom, _LEFT : _LEFT + 2] = INK
    labels.append(((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 10, x_label, "mb"))
    labels.append((_LEFT, top - 10, y_label, "ls"))
    labels.append((WIDTH - _RIGHT, top - 10, panel.title, "rs"))
    return _written(canvas, labels)


def _curve(canvas: ByteArray, points: list[tuple[float, float]], colour: Colour) -> None:
    fixed = np.rint(np.array(points) * 2**SHIFT).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, colour, 3, cv2.LINE_AA, SHIFT)
    for x, y in fixed:
        cv2.circle(canvas, (int(x), int(y)), 5 * 2**SHIFT, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _legend(colours: dict[str, Colour], notes: Sequence[str], width: int) -> ByteArray:
    pitch = round(1.6 * _TEXT)
    canvas = np.full(((len(colours) + len(notes)) * pitch + _TEXT, width, 3), PAPER, dtype=np.uint8)
    labels = []
    for row, (name, colour) in enumerate(colours.items()):
        middle = row * pitch + pitch // 2
        _curve(canvas, [(_LEFT, middle), (_LEFT + 60, middle)], colour)
        labels.append((_LEFT + 76, middle, name, "lm"))
    for row, note in enumerate(notes, len(colours)):
        labels.append((_LEFT, row * pitch + pitch // 2, note, "lm"))
    return _written(canvas, labels)


def _written(canvas: ByteArray, labels: Sequence[tuple[float, float, str, str]]) -> ByteArray:
    """Write texts at points, anchored as Pillow names it; letters outside ASCII, which its own font lacks, as ``?``."""
    page = Image.fromarray(canvas)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_TEXT)
    for x, y, text, anchor in labels:
        pen.text((x, y), text.encode("ascii", "replace").decode(), INK, font, anchor=anchor)
    return np.asarray(page, dtype=np.uint8)
