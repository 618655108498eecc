"""A warping field drawn as a deformed grid, as arrows or as colours, and where it folds over.

A field is a tensor of shape ``(S, S, 2)``, one face's: for each pixel x of the stylised crop the photo coordinate w(x)
it takes its colour from, both in crop coordinates. Its *displacement* is w(x) - x, drawn at x. As in
:mod:`callbacks.drawing`, a panel's units are pixels, their centres at integers.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap
from matplotlib.patches import Circle
from torch import Tensor
from torchvision.utils import flow_to_image

from callbacks.drawing import FAR, RED, draw_image, set_frame
from datamodules.faces import ByteArray
from lightning_modules.warping import jacobian_determinant, pixel_grid

BLUE: Final = "#285ac8"

_SHADE: Final = 0.55
"""Opacity of the shade over folds."""


def draw_deformed_grid(panel: Axes, field: Tensor, size: int, lines: int = 16, colour: str = "white") -> None:
    """Draw where a field takes the lines of a square grid on the stylised crop; folded cells are red.

    Over the photo, the grid shows which part of it each cell of the stylised face takes.

    Args:
        panel: the photo's, of ``size`` pixels.
        field: crop coordinates, shape ``(S, S, 2)``.
        size: side of the photo in pixels.
        lines: about how many lines there are in either direction.
        colour: of the lines.
    """
    positions = _array(field) * size
    side = len(positions)
    y, x = np.nonzero(_folds(field))
    corners = np.stack([positions[y, x], positions[y, x + 1], positions[y + 1, x + 1], positions[y + 1, x]], axis=1)
    panel.add_collection(PolyCollection(list(corners), facecolors=RED, alpha=_SHADE, antialiased=False), autolim=False)
    chosen = [*range(0, side, max(1, side // lines)), side - 1]
    strokes = [*positions[chosen], *positions[:, chosen].swapaxes(0, 1)]
    # Dark below light, so that the lines are seen on any ground.
    for ink, width, alpha in (("black", 1.4, 0.4), (colour, 0.6, 1.0)):
        panel.add_collection(LineCollection(strokes, colors=ink, linewidths=width, alpha=alpha), autolim=False)
    set_frame(panel, size)


def draw_arrows(panel: Axes, field: Tensor, arrows: int = 16, colour: str = BLUE) -> None:
    """Draw a field's displacement as arrows: from places on the stylised crop to where the field takes them.

    Args:
        panel: the stylised face's, of S pixels.
        field: crop coordinates, shape ``(S, S, 2)``.
        arrows: about how many arrows there are in either direction.
        colour: of the arrows.
    """
    side = len(field)
    step = max(1, side // arrows)
    chosen = np.arange(step // 2, side, step)
    x, y = np.meshgrid(chosen, chosen)
    dx, dy = np.moveaxis(_array(field)[y, x] * side, 2, 0) - (x, y)
    panel.quiver(
        x, y, dx, dy, color=colour, edgecolor="white", linewidth=0.3,
        angles="xy", scale_units="xy", scale=1, width=0.006, headwidth=4, headlength=4.5, minlength=0.2,
    )  # fmt: skip
    set_frame(panel, side)


def draw_displacement(panel: Axes, field: Tensor) -> float:
    """Draw a field's displacement in the colours of optical flow: hue is direction, saturation length (white is none).

    Args:
        panel: an empty panel; a colour wheel is put into its lower right corner.
        field: crop coordinates, shape ``(S, S, 2)``.

    Returns:
        The longest displacement, in crop coordinates: what the rim of the wheel stands for.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, ICCV 2007 (the Middlebury colours).
    """
    displacement = torch.from_numpy(_array(field)) - pixel_grid(len(field))
    # `flow_to_image` scales by the longest displacement it is given; this floor keeps rounding from being coloured.
    longest = max(float(displacement.norm(dim=-1).max()), 1e-6)
    draw_image(panel, _flow_colours(torch.cat([displacement, torch.full((1, len(field), 2), longest / 2**0.5)]))[:-1])
    along = torch.linspace(-1, 1, 101)
    y, x = torch.meshgrid(along, along, indexing="ij")
    inside = x.square() + y.square() <= 1
    colours = _flow_colours(torch.where(inside[..., None], torch.stack([x, y], dim=-1), 0.0))
    wheel = panel.inset_axes((0.77, 0.02, 0.21, 0.21))
    wheel.imshow(np.dstack([colours, inside.byte().numpy() * 255]))
    wheel.add_patch(Circle((50, 50), 50, fill=False, linewidth=0.5))
    wheel.set_axis_off()
    return longest


def shade_folds(panel: Axes, field: Tensor, colour: str = RED) -> None:
    """Shade where a field folds over: where its Jacobian determinant is negative.

    Args:
        panel: of the stylised crop or what is in its frame, e.g. the warped photo, of S pixels.
        field: crop coordinates, shape ``(S, S, 2)``.
        colour: of the shade.
    """
    folds = np.ma.masked_equal(_folds(field), False)
    end = len(field) - 1
    # A cell of the determinant spans from one pixel's centre to the next.
    cells = (0, end, end, 0)
    panel.imshow(folds, cmap=ListedColormap([colour]), alpha=_SHADE, extent=cells, interpolation="nearest")
    set_frame(panel, len(field))


def _array(field: Tensor) -> npt.NDArray[np.float32]:
    """A field as numpy, so that it can be drawn: not-a-number becomes 0, what is far off comes nearer."""
    if field.ndim != 3 or field.shape[0] != field.shape[1] or field.shape[2] != 2:
        raise ValueError(f"field has shape {tuple(field.shape)}; expected (S, S, 2), one face's.")
    array: npt.NDArray[np.float32] = np.nan_to_num(field.detach().float().cpu().numpy()).clip(-FAR, FAR)
    return array


def _folds(field: Tensor) -> npt.NDArray[np.bool_]:
    """Which cells of four pixels fold over, shape ``(S - 1, S - 1)``."""
    return np.asarray((jacobian_determinant(field.detach()[None])[0] < 0).cpu().numpy())


def _flow_colours(displacement: Tensor) -> ByteArray:
    """Displacements ``(H, W, 2)`` as colours ``(H, W, 3)``; the longest is fully saturated."""
    colours: Tensor = flow_to_image(displacement.permute(2, 0, 1).float())
    return colours.permute(1, 2, 0).numpy()
