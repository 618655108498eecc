"""The page of `figure`: eight captioned pictures of one warp, from the two faces to the field."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from callbacks.drawing import (
    GREEN,
    INK,
    PAPER,
    RED,
    draw_gradients,
    draw_landmark_shift,
    draw_landmarks,
    enlarge,
    label_tile,
    to_picture,
)
from callbacks.field_drawing import (
    draw_deformed_grid,
    draw_displacement,
    draw_warped,
    longest_displacement,
    shade_folds,
)
from datamodules.faces import ByteArray, FaceSample
from lightning_modules.warping import ImageGradient, warp_image

TILE: Final = 512
"""Least side of each picture: with four of them side by side, a page's width at 300 dots per inch."""

_GAP = 12


@dataclass(frozen=True)
class Half:
    """One of the two faces, cropped, and where its landmarks come from (``labels`` or ``predictions``)."""

    sample: FaceSample
    origin: str

    @property
    def image(self) -> Tensor:
        """The crop, RGB in [0, 1], shape ``(1, 3, S, S)``."""
        return self.sample.image[None]

    @property
    def landmarks(self) -> Tensor:
        """Crop coordinates, shape ``(1, 68, 2)``."""
        assert self.sample.landmarks is not None, "both faces of a figure have landmarks"
        return self.sample.landmarks[None]


def compose(photo: Half, stylised: Half, field: Tensor, gradient: ImageGradient) -> ByteArray:
    """The figure: faces and the warped photo above; gradient images of what is compared, and the field, below.

    Args:
        photo: the photo's crop and landmarks.
        stylised: the stylised face's, a crop of the same size.
        field: photo coordinates of the stylised crop's pixels, shape ``(1, S, S, 2)``.
        gradient: operator of the gradient images.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``: two rows of four captioned pictures.
    """
    size = field.shape[1]
    first, second = to_picture(photo.image[0]), to_picture(stylised.image[0])
    warped = draw_warped(photo.image[0], field[0])
    # The gradient is the warped photo's before it is rounded to a picture, as in the loss.
    pair = torch.cat([stylised.image, warp_image(photo.image, field)])
    gradients = draw_gradients(gradient(pair))
    shift = draw_landmark_shift(warped, photo.landmarks[0], stylised.landmarks[0], TILE)
    step, longest = max(1, size // 16), longest_displacement(field[0])
    top = {
        f"photo, {photo.origin}": draw_landmarks(first, photo.landmarks[0], GREEN, smallest=TILE),
        f"stylised face, {stylised.origin}": draw_landmarks(second, stylised.landmarks[0], RED, smallest=TILE),
        "photo warped onto it": warped,
        "landmarks, the photo's to the face's": shift,
    }
    name = type(gradient).__name__
    below = {
        f"{name}, stylised face": gradients[0],
        f"{name}, warped photo": gradients[1],
        "the face's grid on the photo; folds red": draw_deformed_grid(field[0], step, first, PAPER, TILE),
        # Folds in ink here: red is one of the wheel's colours.
        f"displacement; rim {100 * longest:.0f} % of the side": shade_folds(
            draw_displacement(field[0], longest, smallest=TILE), field[0], INK, TILE
        ),
    }
    return _page([top, below])


def _page(rows: list[dict[str, ByteArray]]) -> ByteArray:
    """Lay out captioned pictures, lettered (a), (b), ... row by row."""
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    tiles = [
        [label_tile(enlarge(picture, TILE), f"({next(letters)}) {caption}") for caption, picture in row.items()]
        for row in rows
    ]
    framed = [[np.pad(tile, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for tile in row] for row in tiles]
    page = np.concatenate([np.concatenate(row, axis=1) for row in framed])
    return np.asarray(page[:-_GAP, :-_GAP], dtype=np.uint8)
