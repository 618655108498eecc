"""A photo warped onto a drawing by the landmarks found on both."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.drawing import GREEN, RED, draw_image, draw_landmarks
from callbacks.field_drawing import draw_deformed_grid
from datamodules.faces import ByteArray
from datamodules.transforms import Square, cut
from lightning_modules.coordinates import to_crop
from lightning_modules.warping import PolyharmonicSpline, folding, warp_image
from prediction.faces import PredictedFace

_SIZE: Final = 384
"""Side of the crops, in pixels."""
_WIDER: Final = 1.25
"""Their side over that of training's crops: hair and ears are shown too."""
_INCHES: Final = 2.5
"""Side of the pictures for matplotlib, whose lines have widths in points: larger makes them thinner."""


@dataclass(frozen=True)
class Warped:
    """What the page shows of a pair. All pictures are RGB, uint8, square and of one size.

    Attributes:
        warped: the photo in the drawing's shape.
        drawing: the crop of the drawing.
        drawing_marked: with its landmarks.
        field: the crop of the photo with its landmarks and where the field takes a square grid on the drawing.
        folded: share of the crop where the field folds over, 0 to 1.
    """

    warped: ByteArray
    drawing: ByteArray
    drawing_marked: ByteArray
    field: ByteArray
    folded: float


def warp_onto(
    photo: ByteArray, photo_face: PredictedFace, drawing: ByteArray, drawing_face: PredictedFace, smoothing: float = 0.0
) -> Warped:
    """Warp a photo onto a drawing by a thin-plate spline from the drawing's landmarks to the photo's (eq. 1).

    Both are cropped to their landmarks, a little wider than for training.

    Args:
        photo: RGB, uint8, shape ``(H, W, 3)``.
        photo_face: in its pixels.
        drawing: likewise, of its own size.
        drawing_face: in its pixels.
        smoothing: the spline's λ; at 0 it takes landmarks to landmarks.
    """
    (face, face_points), (art, art_points) = _cropped(photo, photo_face), _cropped(drawing, drawing_face)
    field = PolyharmonicSpline.fit(art_points, face_points, smoothing=smoothing).grid(_SIZE)
    return Warped(
        _bytes(warp_image(face[None], field)[0]),
        _bytes(art),
        _rendered(art, art_points[0], RED),
        _rendered(face, face_points[0], GREEN, field[0]),
        float(folding(field)),
    )


def _cropped(image: ByteArray, face: PredictedFace) -> tuple[Tensor, Tensor]:
    """The crop about the landmarks, RGB in [0, 1], ``(3, S, S)``, and these in its coordinates, ``(1, 68, 2)``."""
    matrix = Square.around(face.box).scaled(_WIDER).matrix(_SIZE)
    crop = torch.from_numpy(cut(image, matrix, _SIZE)).permute(2, 0, 1).float() / 255
    points = to_crop(torch.from_numpy(face.landmarks)[None], torch.from_numpy(matrix)[None], _SIZE)
    return crop, points.float()


def _bytes(image: Tensor) -> ByteArray:
    return np.asarray(image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _rendered(image: Tensor, points: Tensor, colour: str, field: Tensor | None = None) -> ByteArray:
    """A crop with its landmarks and, if given, a field's grid, as pixels."""
    side = 2 * _SIZE
    figure = Figure((_INCHES, _INCHES), dpi=side / _INCHES)
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_axis_off()
    draw_image(panel, image)
    if field is not None:
        draw_deformed_grid(panel, field, _SIZE, lines=20)
    draw_landmarks(panel, points, _SIZE, colour)
    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba")
    return np.frombuffer(pixels.getvalue(), np.uint8).reshape(side, side, 4)[..., :3].copy()
