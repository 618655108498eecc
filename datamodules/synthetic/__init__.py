"""Drawn faces with exact landmarks, in three clearly different styles: stand-ins where no files are at hand."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import caricature, painting, photo
from datamodules.synthetic.geometry import FaceGeometry, Variety, sample_geometry

Style = Literal["photo", "caricature", "painting"]

STYLES: Final[tuple[Style, ...]] = get_args(Style)
"""All styles. A style's index is part of its faces' seed, so new styles go at the end."""

DRAWING_VERSION: Final = 1
"""To be raised with every change after which the same seed draws different faces."""


class _Renderer(NamedTuple):
    variety: Variety
    render: Callable[[FaceGeometry, np.random.Generator], ByteArray]


_RENDERERS: Final[dict[Style, _Renderer]] = {
    "photo": _Renderer(photo.VARIETY, photo.render),
    "caricature": _Renderer(caricature.VARIETY, caricature.render),
    "painting": _Renderer(painting.VARIETY, painting.render),
}


def draw_face(
    style: Style, seed: int, index: int, size: int = 192, difficulty: float = 1.0
) -> tuple[ByteArray, FaceGeometry]:
    """Draw one face. The same arguments give the same bytes, in any process and any order.

    Args:
        style: how it looks.
        seed: which series of faces, 0 or more.
        index: which face of the series, 0 or more.
        size: side of the image in pixels.
        difficulty: factor on the spread of poses and expressions.

    Returns:
        The image (RGB, uint8, shape ``(size, size, 3)``) and the positions of all parts of the face.
    """
    geometry, rng = _geometry(style, seed, index, size, difficulty)
    return _RENDERERS[style].render(geometry, rng), geometry


def face_geometry(style: Style, seed: int, index: int, size: int = 192, difficulty: float = 1.0) -> FaceGeometry:
    """The geometry of the face that :func:`draw_face` draws for the same arguments, without drawing it."""
    return _geometry(style, seed, index, size, difficulty)[0]


def _geometry(
    style: Style, seed: int, index: int, size: int, difficulty: float
) -> tuple[FaceGeometry, np.random.Generator]:
    rng = np.random.default_rng([seed, STYLES.index(style), index])
    return sample_geometry(_RENDERERS[style].variety, rng, size, difficulty), rng
