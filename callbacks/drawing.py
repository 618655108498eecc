"""Drawing for people: landmarks over a face, the deformed grid of a warping field, captioned tiles.

Pictures are RGB, uint8, of shape ``(H, W, 3)``. Small ones are enlarged before anything is drawn on them, so that lines
and letters stay sharp.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.faces import ByteArray
from datamodules.ibug68 import CLOSED_PARTS, NUM_LANDMARKS, PARTS
from lightning_modules.warping import PolyharmonicSpline

Colour = tuple[int, int, int]

GREEN: Colour = (0, 230, 90)
RED: Colour = (255, 70, 60)
_INK: Colour = (20, 20, 20)
_PAPER: Colour = (255, 255, 255)
_LINE: Colour = (40, 90, 200)

_SHIFT = 4  # cv2 takes fixed-point coordinates with this many fractional bits: points need not snap to pixels
_BAR = 22  # height of a caption bar in pixels


def to_picture(image: Tensor) -> ByteArray:
    """A crop as it comes from a batch, as a picture.

    Args:
        image: RGB in [0, 1] (values outside are clipped), shape ``(3, H, W)``.

    Returns:
        uint8, shape ``(H, W, 3)``.
    """
    scaled = image.detach().float().clamp(0, 1).mul(255).round()
    return np.ascontiguousarray(scaled.byte().permute(1, 2, 0).cpu().numpy())


def enlarge(image: ByteArray, smallest: int = 192) -> ByteArray:
    """Enlarge a picture by a whole factor until its shorter side has at least ``smallest`` pixels.

    Args:
        image: shape ``(H, W, 3)``.
        smallest: wanted length of the shorter side; a picture that has it is copied.

    Returns:
        Shape ``(f H, f W, 3)``.
    """
    factor = max(1, -(-smallest // min(image.shape[:2])))
    if factor == 1:
        return image.copy()
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def draw_landmarks(
    image: ByteArray,
    landmarks: npt.NDArray[np.floating] | Tensor,
    colour: Colour = GREEN,
    connect: bool = True,
    smallest: int = 192,
) -> ByteArray:
    """Draw 68 landmarks over a square crop.

    Args:
        image: the crop, shape ``(S, S, 3)``.
        landmarks: crop coordinates (``p = x_px / size``), shape ``(68, 2)``. Those that are not finite are left out.
        colour: RGB of points and lines.
        connect: join the points of each part (jaw, brows, nose, eyes, lips) by lines.
        smallest: enlarge the crop to at least this side first.

    Returns:
        A new picture, at least ``smallest`` pixels wide.

    Raises:
        ValueError: the landmarks are not 68 points.
    """
    points = landmarks.detach().float().cpu().numpy() if isinstance(landmarks, Tensor) else np.asarray(landmarks)
    if points.shape != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks have shape {points.shape}; expected ({NUM_LANDMARKS}, 2), one face's.")
    canvas = enlarge(image, smallest)
    fixed = _fixed_point(points, image.shape[0], canvas.shape[0])
    known = np.isfinite(points).all(axis=1)
    if connect:
        for name, part in PARTS.items():
            shown = fixed[[i for i in part if known[i]]]
            cv2.polylines(canvas, [shown], name in CLOSED_PARTS, colour, 1, cv2.LINE_AA, _SHIFT)
    radius = round(max(1.5, canvas.shape[0] / 160) * 2**_SHIFT)
    for x, y in fixed[known]:
        cv2.circle(canvas, (int(x), int(y)), radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return canvas


def draw_deformed_grid(
    spline: PolyharmonicSpline,
    size: int,
    step: int = 16,
    face: int = 0,
    image: ByteArray | None = None,
    colour: Colour = _LINE,
) -> ByteArray:
    """Draw where a warping field takes the lines of a square grid on the stylised crop.

    Lines that cross show a fold; over the photo, the grid shows which part of it each cell of the stylised face takes.

    Args:
        spline: the field.
        size: side of the picture in pixels.
        step: distance between grid lines in pixels.
        face: which face of the spline's batch.
        image: the photo to draw over, shape ``(S, S, 3)``; white if None.
        colour: RGB of the lines.

    Returns:
        Shape ``(size, size, 3)``.
    """
    blank = np.full((size, size, 3), _PAPER, dtype=np.uint8)
    canvas = blank if image is None else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    along = torch.linspace(0, size - 1, 4 * (size // 4) + 1, dtype=torch.float64)
    across = torch.arange(0, size, step, dtype=torch.float64)
    x, y = torch.meshgrid(along, across, indexing="xy")
    lines = torch.cat([torch.stack([x, y], dim=-1), torch.stack([y, x], dim=-1)]) / size
    with torch.no_grad():
        moved = spline.evaluate(lines.view(1, -1, 2).to(spline.shift.device))[face].view(lines.shape)
    fixed = _fixed_point(moved.double().cpu().numpy(), size, size)
    cv2.polylines(canvas, list(fixed), False, colour, 1, cv2.LINE_AA, _SHIFT)
    return np.asarray(canvas, dtype=np.uint8)


def _fixed_point(points: npt.NDArray[np.floating], size: int, canvas: int) -> npt.NDArray[np.int32]:
    """Crop coordinates of a crop of ``size`` pixels, shown at ``canvas`` pixels, as cv2's fixed-point coordinates."""
    pixels = (points * size + 0.5) * (canvas / size) - 0.5
    # Far-off points are drawn a few pictures away: cv2's integers would overflow.
    pixels = np.nan_to_num(pixels).clip(-8 * canvas, 8 * canvas)
    return np.asarray(np.rint(pixels * 2**_SHIFT), dtype=np.int32)


def label_tile(image: ByteArray, text: str) -> ByteArray:
    """Put a caption bar above a picture.

    Args:
        image: shape ``(H, W, 3)``.
        text: shrunk until it fits the width; letters outside ASCII are shown as cv2's font can.

    Returns:
        Shape ``(H + 22, W, 3)``.
    """
    width = image.shape[1]
    bar = np.full((_BAR, width, 3), _PAPER, dtype=np.uint8)
    text = text.encode("ascii", "replace").decode()
    scale = 0.45
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, (width - 8) / max(length, 1))
    cv2.putText(bar, text, (4, _BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    return np.concatenate([bar, image])


def grid_of(
    rows: Sequence[Sequence[ByteArray]], captions: Sequence[str] | None = None, smallest: int = 192, gap: int = 4
) -> ByteArray:
    """Put pictures in rows and columns.

    Args:
        rows: square pictures; rows may differ in length.
        captions: one above each column; none if None.
        smallest: every tile is brought to one side, at least this long.
        gap: white pixels between tiles.

    Returns:
        One picture.

    Raises:
        ValueError: there is no picture, or not as many captions as columns.
    """
    tiles = [[enlarge(tile, smallest) for tile in row] for row in rows]
    if not any(tiles):
        raise ValueError("there are no pictures to put in a grid; give at least one row with one picture.")
    columns, side = max(map(len, tiles)), max(tile.shape[0] for row in tiles for tile in row)
    if captions is not None and len(captions) != columns:
        raise ValueError(f"{len(captions)} captions for {columns} columns; give one for each column.")
    pitch, top = side + gap, 0 if captions is None else _BAR
    page = np.full((top + len(tiles) * pitch - gap, columns * pitch - gap, 3), _PAPER, dtype=np.uint8)
    for column, caption in enumerate(captions or ()):
        page[:_BAR, column * pitch : column * pitch + side] = label_tile(np.empty((0, side, 3), np.uint8), caption)
    for row, pictures in enumerate(tiles):
        for column, tile in enumerate(pictures):
            if tile.shape[:2] != (side, side):
                tile = np.asarray(cv2.resize(tile, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
            y, x = top + row * pitch, column * pitch
            page[y : y + side, x : x + side] = tile
    return page
