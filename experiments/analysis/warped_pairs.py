"""Photos warped onto stylised faces: the paper's Figure 3."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.drawing import GREEN, RED, draw_gradients, draw_image, draw_landmark_shift, draw_landmarks, page
from callbacks.field_drawing import draw_deformed_grid, draw_displacement, shade_folds
from lightning_modules.warping import Canny, ImageGradient, Laplacian, Sobel, SpatialGradient, warp_image

Gradient = Literal["sobel", "laplacian", "canny", "spatial"]
GRADIENTS: Final[dict[Gradient, Callable[[], ImageGradient]]] = {
    "sobel": Sobel,
    "laplacian": Laplacian,
    "canny": Canny,
    # Its other mode, Sobel's operator, would draw the first one's picture.
    "spatial": partial(SpatialGradient, mode="diff"),
}


def draw_figure(
    images: Tensor, landmarks: Tensor, origins: Sequence[str], field: Tensor, gradient: ImageGradient
) -> Figure:
    """One pair: faces and the warped photo above; gradient images of what is compared, and the field, below.

    Args:
        images: the photo and the stylised face, RGB in [0, 1], shape ``(2, 3, S, S)``.
        landmarks: of both, crop coordinates, shape ``(2, 68, 2)``.
        origins: of both landmarks, for the titles, e.g. ``labels``.
        field: photo coordinates of the stylised crop's pixels, shape ``(1, S, S, 2)``.
        gradient: operator of the gradient images.
    """
    titles = [f"({letter}) {title}" for letter, title in zip("abcdefgh", _titles(origins, gradient), strict=True)]
    # 1.75 inches a panel make the page as wide as a page of print.
    figure, (above, below) = page(2, 4, titles, side=1.75, dpi=300)
    _draw_pair([*above, *below], images, landmarks, field, gradient)
    return figure


def draw_pairs(
    images: Tensor,
    landmarks: Tensor,
    origins: Sequence[str],
    fields: Tensor,
    gradient: ImageGradient,
    note: str | None = None,
) -> Figure:
    """N pairs, a row of eight panels for each: those of :func:`draw_figure`.

    Args:
        images: photos and stylised faces, RGB in [0, 1], shape ``(N, 2, 3, S, S)``.
        landmarks: of both, crop coordinates, shape ``(N, 2, 68, 2)``.
        origins: of both landmarks, for the titles, e.g. ``labels``.
        fields: photo coordinates of the stylised crops' pixels, shape ``(N, S, S, 2)``.
        gradient: operator of the gradient images.
        note: a line of text at the foot of the page.
    """
    figure, rows = page(len(images), 8, _titles(origins, gradient), note, side=1.75, dpi=200)
    for row, pair, points, field in zip(rows, images, landmarks, fields, strict=True):
        _draw_pair(row, pair, points, field[None], gradient)
    return figure


def _draw_pair(
    panels: Sequence[Axes], images: Tensor, landmarks: Tensor, field: Tensor, gradient: ImageGradient
) -> None:
    """The eight panels of a pair, in the order of :func:`_titles`."""
    (photo, stylised), (labels, predicted) = images, landmarks
    size = field.shape[1]
    warped = warp_image(images[:1], field)[0]
    for panel, image in zip(panels[:4], (photo, stylised, warped, warped), strict=True):
        draw_image(panel, image)
    draw_landmarks(panels[0], labels, size, GREEN)
    draw_landmarks(panels[1], predicted, size, RED)
    draw_landmark_shift(panels[3], labels, predicted, size)
    draw_gradients(panels[4:6], gradient(torch.stack([stylised, warped])))
    draw_image(panels[6], photo)
    draw_deformed_grid(panels[6], field[0], size)
    longest = draw_displacement(panels[7], field[0])
    rim = f"rim: {longest * size:.1f} px"
    panels[7].text(0.765, 0.02, rim, transform=panels[7].transAxes, ha="right", fontsize=6)
    # Not red, which is one of the wheel's colours.
    shade_folds(panels[7], field[0], "black")


def _titles(origins: Sequence[str], gradient: ImageGradient) -> list[str]:
    operator = type(gradient).__name__
    return [
        f"photo, {origins[0]}",
        f"stylised face, {origins[1]}",
        "photo warped onto it",
        "photo's landmarks to face's",
        f"{operator}, stylised face",
        f"{operator}, warped photo",
        "face's grid; folds red",
        "displacement; folds black",
    ]
