"""Faces drawn with matplotlib: pages of panels, landmarks, gradient images.

A drawing function draws on one ``Axes`` whose units are the pixels of a crop of ``size`` pixels: x to the right, y
down, pixel centres at integers, so that the landmark with crop coordinates p lies at ``p * size``
(:mod:`lightning_modules.coordinates`). Pages are made without ``pyplot``: they hold no global state, and any thread may
draw one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.faces import ByteArray
from datamodules.ibug68 import CLOSED_PARTS, NUM_LANDMARKS, PARTS

FORMATS: Final = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""What a picture can be written as, by suffix."""
GREEN: Final = "#00e65a"
RED: Final = "#ff463c"
OKABE_ITO: Final = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind people tell apart (Okabe and Ito 2008)."""
SYNTHETIC: Final = "SYNTHETIC faces: not results"
"""The note on every picture of drawn stand-in faces."""

_WARNING: Final = "#b00020"

FAR: Final = 8.0
"""Points further from the crop than this many of its sides are drawn there, as Agg's coordinates are limited."""
_GAP, _TITLE, _MARGIN = 0.06, 0.24, 0.08
"""In inches: between panels, for a line of text above them, and around the page."""


def page(
    rows: int,
    columns: int,
    titles: Sequence[str],
    note: str | None = None,
    side: float = 2.0,
    dpi: float = 100,
) -> tuple[Figure, list[list[Axes]]]:
    """A page of square, empty panels.

    Args:
        rows: number of rows.
        columns: number of columns.
        titles: one for each column, written above the first row, or one for each panel, row by row.
        note: a line of text at the foot of the page.
        side: of a panel, in inches.
        dpi: dots per inch when the page is written as pixels.

    Returns:
        The page, and its panels by row and column.

    Raises:
        ValueError: there are neither as many titles as columns nor as many as panels.
    """
    if len(titles) not in (columns, rows * columns):
        raise ValueError(
            f"{len(titles)} titles for {rows} rows of {columns} panels; give one for each column or panel."
        )
    titled_rows = len(titles) // columns
    foot = _MARGIN + (_TITLE if note else 0)
    width = columns * (side + _GAP) - _GAP + 2 * _MARGIN
    height = rows * (side + _GAP) - _GAP + titled_rows * _TITLE + _MARGIN + foot
    figure = Figure((width, height), dpi=dpi)
    panels: list[list[Axes]] = []
    for row in range(rows):
        below = rows - 1 - row
        bottom = foot + below * (side + _GAP) + (below * _TITLE if titled_rows > 1 else 0)
        places = [(_MARGIN + column * (side + _GAP), bottom) for column in range(columns)]
        panels.append([figure.add_axes((x / width, y / height, side / width, side / height)) for x, y in places])
    drawn = [panel for row in panels for panel in row]
    for panel in drawn:
        panel.set_axis_off()
    for panel, title in zip(drawn, titles, strict=False):
        panel.set_title(title, fontsize=4.2 * side, pad=3)
    if note:
        figure.text(_MARGIN / width, _MARGIN / height, note, fontsize=4.2 * side, color=_WARNING, weight="bold")
    return figure, panels


def mark_synthetic(figure: Figure, synthetic: bool) -> None:
    """Write above a plot that it is of drawn faces, if it is."""
    if synthetic:
        figure.suptitle(SYNTHETIC, color=_WARNING, weight="bold")


def save_images(path: Path, rows: Sequence[Sequence[Tensor]], titles: Sequence[str], note: str | None = None) -> None:
    """Write images as a page.

    Args:
        path: the file; its suffix says the format.
        rows: at least one row; RGB in [0, 1], shape ``(3, H, W)``, one for each title.
        titles: one for each column.
        note: a line of text at the foot of the page.
    """
    figure, panels = page(len(rows), len(titles), titles, note)
    for row, images in zip(panels, rows, strict=True):
        for panel, image in zip(row, images, strict=True):
            draw_image(panel, image)
    figure.savefig(path)


def draw_image(panel: Axes, image: Tensor | ByteArray) -> None:
    """Show a square crop, and make its pixels the panel's units.

    Args:
        panel: an empty panel.
        image: RGB in [0, 1] (values outside are clipped), shape ``(3, S, S)``; or uint8, shape ``(S, S, 3)``.
    """
    if isinstance(image, Tensor):
        scaled = image.detach().float().clamp(0, 1).mul(255).round()
        image = scaled.byte().permute(1, 2, 0).cpu().numpy()
    panel.imshow(image, interpolation="bicubic" if len(image) < 512 else "auto")
    set_frame(panel, len(image))


def set_frame(panel: Axes, size: int) -> None:
    """Let the panel show exactly a crop of ``size`` pixels, whatever is drawn on it later."""
    panel.set_xlim(-0.5, size - 0.5)
    panel.set_ylim(size - 0.5, -0.5)
    panel.set_aspect("equal")


def draw_landmarks(panel: Axes, landmarks: Tensor, size: int, colour: str = GREEN) -> None:
    """Draw 68 landmarks, those of each part (jaw, brows, nose, eyes, lips) joined by a line.

    Args:
        panel: see the module.
        landmarks: crop coordinates, shape ``(68, 2)``. Those that are not finite are left out.
        size: side of the crop in pixels.
        colour: of points and lines.

    Raises:
        ValueError: the landmarks are not 68 points.
    """
    points = _to_pixels(landmarks, size)
    strokes: list[npt.NDArray[np.float64]] = []
    for name, part in PARTS.items():
        closing = [part[0]] if name in CLOSED_PARTS else []
        strokes += [points[[*part, *closing]], np.full((1, 2), np.nan)]
    x, y = np.concatenate(strokes).T
    # Dark below light, so that the lines are seen on any ground.
    panel.plot(x, y, color="black", alpha=0.45, linewidth=1.8, solid_capstyle="round")
    panel.plot(x, y, color=colour, linewidth=0.8, marker="o", markersize=2.0, markeredgewidth=0)


def draw_landmark_shift(panel: Axes, before: Tensor, after: Tensor, size: int) -> None:
    """Draw where 68 landmarks move: from green points along white lines to red points.

    Args:
        panel: see the module.
        before: crop coordinates, shape ``(68, 2)``. A landmark that is not finite in either is left out.
        after: likewise.
        size: side of the crop in pixels.

    Raises:
        ValueError: either is not 68 points.
    """
    ends = np.stack([_to_pixels(before, size), _to_pixels(after, size)])
    known = np.isfinite(ends).all(axis=(0, 2))
    x, y = ends[:, known, 0], ends[:, known, 1]
    panel.plot(x, y, color="black", alpha=0.45, linewidth=1.8, solid_capstyle="round")
    panel.plot(x, y, color="white", linewidth=0.8)
    for side, colour in ((0, GREEN), (1, RED)):
        panel.plot(x[side], y[side], "o", color=colour, markersize=2.2, markeredgecolor="black", markeredgewidth=0.2)


def draw_gradients(panels: Sequence[Axes], gradients: Tensor) -> None:
    """Show gradient images as grey pictures on one scale, to be compared.

    Args:
        panels: B empty panels.
        gradients: what an :class:`~lightning_modules.warping.ImageGradient` gives, shape ``(B, G, S, S)``; the mean
            over G is shown. 0 is black, or mid-grey if any value is negative. The strongest half percent is saturated.
    """
    values = gradients.detach().float().mean(dim=1).cpu().numpy()
    largest = max(float(np.quantile(np.abs(values), 0.995)), 1e-6)
    smallest = -largest if (values < 0).any() else 0.0
    for panel, value in zip(panels, values, strict=True):
        panel.imshow(value, cmap="gray", vmin=smallest, vmax=largest)
        set_frame(panel, len(value))


def _to_pixels(landmarks: Tensor, size: int) -> npt.NDArray[np.float64]:
    if landmarks.shape != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks have shape {tuple(landmarks.shape)}; expected ({NUM_LANDMARKS}, 2), one face's.")
    points: npt.NDArray[np.float64] = landmarks.detach().double().cpu().numpy()
    return np.where(np.isfinite(points).all(axis=1, keepdims=True), points.clip(-FAR, FAR), np.nan) * size
