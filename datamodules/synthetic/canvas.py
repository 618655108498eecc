"""Anti-aliased painting on an RGB canvas.

Shapes are given in image pixels (pixel centres at integers). Their coverage is counted on a grid four times as fine, so
edges are accurate to about an eighth of a pixel. All pixel arithmetic is on integers, so that the bytes are the same on
every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from datamodules.faces import ByteArray
from datamodules.synthetic.anatomy import Points

Outline = npt.NDArray[np.floating]
"""Points (x, y) in image pixels, shape ``(N, 2)``."""

Colour = tuple[int, int, int]
"""RGB, 0–255."""

_FINER = 4
_FRACTION_BITS = 6


@dataclass
class Mask:
    """How much of each pixel a shape covers.

    Attributes:
        alpha: 0–255, uint8, shape ``(S, S)``, zero outside the window.
        window: the rows and columns that may be covered.
    """

    alpha: ByteArray
    window: tuple[slice, slice]

    def within(self, other: "Mask") -> "Mask":
        """The part of this mask that lies in ``other``."""
        return self._times(other.alpha)

    def without(self, other: "Mask") -> "Mask":
        """The part of this mask that lies outside ``other``."""
        return self._times(255 - other.alpha)

    def _times(self, factor: ByteArray) -> "Mask":
        alpha = np.zeros_like(self.alpha)
        product = self.alpha[self.window].astype(np.uint16) * factor[self.window]
        alpha[self.window] = (product + 127) // 255
        return Mask(alpha, self.window)


def _fixed_point(points: Outline, origin: tuple[int, int], finer: int) -> npt.NDArray[np.int32]:
    """Image pixels to OpenCV's fixed-point pixels of a window ``finer`` times as fine."""
    local = (points - np.array(origin)) * finer + (finer - 1) / 2
    return np.asarray(np.round(local * (1 << _FRACTION_BITS)), np.int32)


class Canvas:
    """A square RGB picture to paint on.

    Args:
        pixels: uint8, shape ``(S, S, 3)``; painted in place.
    """

    def __init__(self, pixels: ByteArray) -> None:
        self.pixels = pixels
        self.size = len(pixels)

    def shape(self, points: Outline, feather: float = 0.0) -> Mask:
        """The mask of a filled outline.

        Args:
            points: the outline, image pixels, shape ``(N, 2)``.
            feather: standard deviation of the blur of its edge, in pixels.
        """
        return self._mask([points], feather, None)

    def line(
        self, lines: Sequence[Points], width: float, feather: float = 0.0, closed: bool = False, minimum: float = 0.25
    ) -> Mask:
        """The mask of lines of even width with round joints (width and feather in pixels)."""
        return self._mask(lines, feather, max(width, minimum), closed)

    def _mask(self, outlines: Sequence[Outline], feather: float, width: float | None, closed: bool = False) -> Mask:
        alpha = np.zeros((self.size, self.size), np.uint8)
        corners = np.concatenate(outlines)
        pad = int(3 * feather + (width or 0.0) / 2) + 2
        low = np.clip(np.floor(corners.min(0)).astype(int) - pad, 0, self.size)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + pad + 1, 0, self.size)
        window = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        columns, rows = (int(n) for n in high - low)
        if rows <= 0 or columns <= 0:
            return Mask(alpha, (slice(0, 0), slice(0, 0)))
        finer = _FINER if feather < 1.5 else 1
        fine = np.zeros((rows * finer, columns * finer), np.uint8)
        fixed = [_fixed_point(points, (int(low[0]), int(low[1])), finer) for points in outlines]
        if width is None:
            cv2.fillPoly(fine, fixed, 255, shift=_FRACTION_BITS)
        else:
            cv2.polylines(fine, fixed, closed, 255, max(1, round(width * finer)), shift=_FRACTION_BITS)
        alpha[window] = blur(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA), feather)
        return Mask(alpha, window)

    def paint(self, mask: Mask, colour: Colour, opacity: float = 1.0) -> None:
        """Lay a colour over the masked part."""
        pixels = self.pixels[mask.window]
        if not pixels.size:
            return
        # 0–256 rather than 0–255: dividing by 256 is a shift, and (255 · 256) still fits 16 bits.
        alpha: npt.NDArray[np.uint16] = mask.alpha[mask.window].astype(np.uint16)
        alpha += alpha >> np.uint16(7)
        alpha = (alpha * np.uint16(round(255 * opacity)) >> np.uint16(8))[..., None]
        alpha += alpha >> np.uint16(7)
        pixels[...] = (pixels * (256 - alpha) + np.array(colour, np.uint16) * alpha + 128) >> 8

    def fill(
        self, points: Outline, colour: Colour, opacity: float = 1.0, feather: float = 0.0, within: Mask | None = None
    ) -> None:
        """Paint a filled outline, or its part in a mask; see :meth:`shape`."""
        mask = self.shape(points, feather)
        self.paint(mask.within(within) if within else mask, colour, opacity)

    def stroke(
        self,
        lines: Sequence[Points],
        width: float,
        colour: Colour,
        opacity: float = 1.0,
        feather: float = 0.0,
        within: Mask | None = None,
    ) -> None:
        """Paint lines, or their part in a mask; see :meth:`line`."""
        mask = self.line(lines, width, feather)
        self.paint(mask.within(within) if within else mask, colour, opacity)


def blur(picture: ByteArray, sigma: float) -> ByteArray:
    """Gaussian blur of a uint8 picture; wide blurs are computed on a coarser picture."""
    if sigma <= 0:
        return picture
    height, width = picture.shape[:2]
    if sigma < 4 or min(height, width) < 32:
        reach = 2 * max(1, round(2.5 * sigma)) + 1
        return np.asarray(cv2.GaussianBlur(picture, (reach, reach), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)
    coarse = cv2.resize(picture, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    coarse = blur(np.asarray(coarse, np.uint8), sigma / 4)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def colours(codes: str) -> tuple[Colour, ...]:
    """Colours by their hexadecimal codes, e.g. ``#ff0000 #00ff00``."""
    return tuple(cast(Colour, ImageColor.getrgb(code)) for code in codes.split())


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies ``share`` of the way from ``first`` to ``second``."""
    red, green, blue = (min(max(round(a + (b - a) * share), 0), 255) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of ``colours``."""
    return colours[int(rng.random() * len(colours))]


def jitter(rng: np.random.Generator, colour: Colour, amount: int) -> Colour:
    """``colour`` with each channel moved by up to ``amount``."""
    shift = (2 * rng.random(3) - 1) * amount
    red, green, blue = (min(max(c + round(float(d)), 0), 255) for c, d in zip(colour, shift, strict=True))
    return red, green, blue


def clouds(rng: np.random.Generator, size: int, cells: int, colours: tuple[Colour, ...], spread: int) -> ByteArray:
    """A soft picture of patches in (roughly) the given colours, shape ``(size, size, 3)``."""
    which = (rng.random((cells, cells)) * len(colours)).astype(int)
    grid = np.array(colours, np.int16)[which] + ((2 * rng.random((cells, cells, 3)) - 1) * spread).astype(np.int16)
    patches = np.clip(grid, 0, 255).astype(np.uint8)
    small = cv2.resize(patches, (8 * cells, 8 * cells), interpolation=cv2.INTER_LINEAR)
    small = blur(np.asarray(small, np.uint8), 3.0)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
