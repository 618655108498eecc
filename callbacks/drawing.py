"""Drawing for people: landmarks over a face, gradient images, captioned tiles.

Pictures are RGB, uint8, of shape ``(H, W, 3)``. Small ones are enlarged before anything is drawn on them, so that lines
and letters stay sharp.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datamodules.faces import ByteArray
from datamodules.ibug68 import CLOSED_PARTS, NUM_LANDMARKS, PARTS

Colour = tuple[int, int, int]
Points = npt.NDArray[np.floating] | Tensor

GREEN: Colour = (0, 230, 90)
RED: Colour = (255, 70, 60)
INK: Colour = (20, 20, 20)
PAPER: Colour = (255, 255, 255)

SHIFT = 4  # cv2 takes fixed-point coordinates with this many fractional bits: points need not snap to pixels
FAR = 8.0  # points further off than this many crops are drawn there
_BAR = 22  # least height of a caption bar in pixels


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
    landmarks: Points,
    colour: Colour = GREEN,
    connect: bool = True,
    smallest: int = 192,
    size: int | None = None,
) -> ByteArray:
    """Draw 68 landmarks over a square crop.

    Args:
        image: the crop, shape ``(S, S, 3)``.
        landmarks: crop coordinates (``p = x_px / size``), shape ``(68, 2)``. Those that are not finite are left out.
        colour: RGB of points and lines.
        connect: join the points of each part (jaw, brows, nose, eyes, lips) by lines.
        smallest: enlarge the crop to at least this side first.
        size: side in pixels of the crop that the coordinates are of, where ``image`` is that crop enlarged.

    Returns:
        A new picture, at least ``smallest`` pixels wide.

    Raises:
        ValueError: the landmarks are not 68 points.
    """
    points = _face(landmarks)
    canvas = enlarge(image, smallest)
    fixed = fixed_point(points, size or image.shape[0], canvas.shape[0])
    known = np.isfinite(points).all(axis=1)
    if connect:
        for name, part in PARTS.items():
            shown = fixed[[i for i in part if known[i]]]
            cv2.polylines(canvas, [shown], name in CLOSED_PARTS, colour, line_width(canvas), cv2.LINE_AA, SHIFT)
    radius = round(max(1.5, canvas.shape[0] / 160) * 2**SHIFT)
    for x, y in fixed[known]:
        cv2.circle(canvas, (int(x), int(y)), radius, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)
    return canvas


def draw_landmark_shift(image: ByteArray, before: Points, after: Points, smallest: int = 192) -> ByteArray:
    """Draw where 68 landmarks move: from green points along lines to red ones.

    Args:
        image: the crop, shape ``(S, S, 3)``.
        before: crop coordinates, shape ``(68, 2)``. A landmark that is not finite in either is left out.
        after: likewise.
        smallest: enlarge the crop to at least this side first.

    Returns:
        A new picture, at least ``smallest`` pixels wide.

    Raises:
        ValueError: either is not 68 points.
    """
    ends = np.stack([_face(before), _face(after)], axis=1)
    known = np.isfinite(ends).all(axis=(1, 2))
    ends[~known] = np.nan
    size, canvas = len(image), enlarge(image, smallest)
    lines = fixed_point(ends[known], size, len(canvas))
    cv2.polylines(canvas, list(lines), False, PAPER, line_width(canvas), cv2.LINE_AA, SHIFT)
    canvas = draw_landmarks(canvas, ends[:, 0], GREEN, False, smallest, size)
    return draw_landmarks(canvas, ends[:, 1], RED, False, smallest, size)


def draw_gradients(gradients: Tensor) -> list[ByteArray]:
    """Gradient images as grey pictures on one scale, to be compared: 0 is black, or mid-grey if any is negative.

    Args:
        gradients: what an :class:`~lightning_modules.warping.ImageGradient` gives, shape ``(B, G, S, S)``; where G is
            not 1, the mean over G is shown.

    Returns:
        B pictures of shape ``(S, S, 3)``. The strongest half percent of all pixels is white (or black).
    """
    values = gradients.detach().float().mean(dim=1).cpu().numpy()
    largest = max(float(np.quantile(np.abs(values), 0.995)), 1e-6)
    shown = values / largest
    if (shown < 0).any():
        shown = (shown + 1) / 2
    grey = np.rint(shown.clip(0, 1) * 255).astype(np.uint8)
    return [np.repeat(picture[:, :, None], 3, axis=2) for picture in grey]


def _face(landmarks: Points) -> npt.NDArray[np.floating]:
    points = landmarks.detach().float().cpu().numpy() if isinstance(landmarks, Tensor) else np.asarray(landmarks)
    if points.shape != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks have shape {points.shape}; expected ({NUM_LANDMARKS}, 2), one face's.")
    return points


def fixed_point(points: npt.NDArray[np.floating], size: int, canvas: int) -> npt.NDArray[np.int32]:
    """Crop coordinates of a crop of ``size`` pixels, shown at ``canvas`` pixels, as cv2's fixed-point coordinates."""
    # Far-off points are drawn a few crops away: cv2's integers would overflow.
    points = np.nan_to_num(points).clip(-FAR, FAR)
    pixels = (points * size + 0.5) * (canvas / size) - 0.5
    return np.asarray(np.rint(pixels * 2**SHIFT), dtype=np.int32)


def line_width(canvas: ByteArray) -> int:
    """Width of lines in pixels: as fine as can be, but to be seen in large pictures too."""
    return max(1, len(canvas) // 256)


def label_tile(image: ByteArray, text: str) -> ByteArray:
    """Put a caption bar above a picture.

    Args:
        image: shape ``(H, W, 3)``.
        text: shrunk until it fits the width; letters outside ASCII, which Pillow's own font lacks, become ``?``.

    Returns:
        Shape ``(H + bar, W, 3)``; the bar has 22 pixels, in pictures wider than 264 pixels a twelfth of the width.
    """
    width = image.shape[1]
    height = bar_height(width)
    bar = Image.new("RGB", (width, height), PAPER)
    text = text.encode("ascii", "replace").decode()
    size = 0.62 * height
    length = ImageFont.load_default(size).getlength(text)
    font = ImageFont.load_default(size * min(1.0, (width - 8) / max(length, 1)))
    ImageDraw.Draw(bar).text((4, height / 2), text, INK, font, anchor="lm")
    return np.concatenate([np.asarray(bar, dtype=np.uint8), image])


def bar_height(width: int) -> int:
    """Height in pixels of the caption bar above a picture of that width."""
    return max(_BAR, width // 12)


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
    pitch, top = side + gap, 0 if captions is None else bar_height(side)
    page = np.full((top + len(tiles) * pitch - gap, columns * pitch - gap, 3), PAPER, dtype=np.uint8)
    for column, caption in enumerate(captions or ()):
        page[:top, column * pitch : column * pitch + side] = label_tile(np.empty((0, side, 3), np.uint8), caption)
    for row, pictures in enumerate(tiles):
        for column, tile in enumerate(pictures):
            if tile.shape[:2] != (side, side):
                tile = np.asarray(cv2.resize(tile, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
            y, x = top + row * pitch, column * pitch
            page[y : y + side, x : x + side] = tile
    return page
