"""Drawing a warping field: as a deformed grid, as arrows, as colours, and where it folds over.

A field is a tensor of shape ``(S, S, 2)``, one face's, whatever gave it (:mod:`lightning_modules.warping.field`): for
each pixel x of the stylised crop the photo coordinate w(x) it takes its colour from. Its *displacement* is w(x) - x,
drawn at x. Pictures are RGB, uint8, enlarged by a whole factor to at least ``smallest`` pixels.
"""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.utils import flow_to_image

from callbacks.drawing import FAR, INK, PAPER, RED, SHIFT, Colour, enlarge, fixed_point, line_width, to_picture
from datamodules.faces import ByteArray
from lightning_modules.warping import jacobian_determinant, pixel_grid, warp_image

LINE: Colour = (40, 90, 200)

_TINT = 0.55  # how much of its colour a shaded area takes on
_LEGEND = 0.22  # side of the colour wheel's legend over the picture's


def draw_warped(photo: Tensor, field: Tensor) -> ByteArray:
    """The photo warped onto the stylised face.

    Args:
        photo: RGB in [0, 1], shape ``(3, H, H)``.
        field: crop coordinates, shape ``(S, S, 2)``.

    Returns:
        Shape ``(S, S, 3)``.
    """
    return to_picture(warp_image(photo[None], _checked(field)[None])[0])


def draw_deformed_grid(
    field: Tensor, step: int = 16, image: ByteArray | None = None, colour: Colour = LINE, smallest: int = 192
) -> ByteArray:
    """Draw where a field takes the lines of a square grid on the stylised crop; folded cells are red.

    Over the photo, the grid shows which part of it each cell of the stylised face takes.

    Args:
        field: crop coordinates, shape ``(S, S, 2)``.
        step: distance between grid lines in pixels of the stylised crop.
        image: the photo to draw over, shape ``(H, H, 3)``; white if None.
        colour: RGB of the lines.
        smallest: least side of the picture.
    """
    positions = _array(field)
    size = len(positions)
    canvas = _canvas(size, image, smallest)
    fixed = fixed_point(positions, size if image is None else image.shape[0], canvas.shape[0])
    folded = canvas.copy()
    for y, x in np.argwhere(_folds(field)):
        # Cell by cell: together, cells that overlap would cancel out.
        cell = fixed[[y, y, y + 1, y + 1], [x, x + 1, x + 1, x]]
        cv2.fillConvexPoly(folded, cell, RED, cv2.LINE_8, SHIFT)
    canvas = _blend(canvas, folded)
    chosen = [*range(0, size, step), size - 1]
    lines = [*fixed[chosen], *fixed[:, chosen].swapaxes(0, 1)]
    if image is not None:
        # A faint dark edge, so that light lines are seen on light ground as well.
        edged = cv2.polylines(canvas.copy(), lines, False, INK, line_width(canvas) + 2, cv2.LINE_AA, SHIFT)
        canvas = _blend(canvas, np.asarray(edged, dtype=np.uint8))
    cv2.polylines(canvas, lines, False, colour, line_width(canvas), cv2.LINE_AA, SHIFT)
    return canvas


def draw_quiver(
    field: Tensor, step: int = 16, image: ByteArray | None = None, colour: Colour = LINE, smallest: int = 192
) -> ByteArray:
    """Draw a field's displacement as arrows: from each place on the stylised crop to where the field takes it.

    Args:
        field: crop coordinates, shape ``(S, S, 2)``.
        step: distance between arrows in pixels of the stylised crop.
        image: the stylised face to draw over, shape ``(S, S, 3)``; white if None.
        colour: RGB of the arrows.
        smallest: least side of the picture.
    """
    positions = _array(field)
    size = len(positions)
    canvas = _canvas(size, image, smallest)
    chosen = np.arange(step // 2, size, step)
    starts = pixel_grid(size).numpy()[chosen][:, chosen].reshape(-1, 2)
    ends = positions[chosen][:, chosen].reshape(-1, 2)
    tip = canvas.shape[0] / 80
    for start, end in zip(*(fixed_point(points, size, canvas.shape[0]) for points in (starts, ends)), strict=True):
        length = float(np.linalg.norm(end - start)) / 2**SHIFT
        # cv2 wants the tip as a share of the arrow: all tips of one size, short arrows all tip.
        share = min(0.6, tip / max(length, 1e-6))
        a, b = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        cv2.arrowedLine(canvas, a, b, colour, line_width(canvas), cv2.LINE_AA, SHIFT, share)
    return canvas


def draw_displacement(
    field: Tensor, longest: float | None = None, legend: bool = True, smallest: int = 192
) -> ByteArray:
    """Draw a field's displacement in the colours of optical flow: hue is direction, saturation length (white is none).

    Args:
        field: crop coordinates, shape ``(S, S, 2)``.
        longest: length in crop coordinates that is fully saturated, and so is all beyond; the longest displacement if
            None. Give one to compare pictures.
        legend: put the colour wheel into the lower right corner, its rim the fully saturated length.
        smallest: least side of the picture.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, ICCV 2007 (the Middlebury colours).
    """
    displacement = torch.from_numpy(_array(field)) - pixel_grid(len(field))
    picture = enlarge(_flow_colours(displacement, longest or longest_displacement(field)), smallest)
    return _with_legend(picture) if legend else picture


def longest_displacement(field: Tensor) -> float:
    """The longest displacement of a field of shape ``(S, S, 2)``, in crop coordinates."""
    return float((torch.from_numpy(_array(field)) - pixel_grid(len(field))).norm(dim=-1).max())


def shade_folds(image: ByteArray, field: Tensor, colour: Colour = RED, smallest: int = 192) -> ByteArray:
    """Shade where a field folds over (its Jacobian determinant is negative).

    Args:
        image: a picture in the frame of the stylised crop, e.g. the warped photo, shape ``(S, S, 3)``.
        field: crop coordinates, shape ``(S, S, 2)``.
        colour: RGB of the shade.
        smallest: least side of the picture.

    Raises:
        ValueError: the picture's side is no multiple of the field's.
    """
    if len(image) % len(field):
        raise ValueError(f"image has {len(image)} pixels a side; a field of {len(field)} needs that or a multiple.")
    canvas = _canvas(len(field), image, smallest)
    factor = len(canvas) // len(field)
    folds = _folds(field).repeat(factor, axis=0).repeat(factor, axis=1)
    # A cell lies between the centres of four pixels, half a pixel from where its first one begins.
    start, end = factor // 2, factor // 2 + len(folds)
    shaded = canvas.copy()
    shaded[start:end, start:end][folds] = colour
    return _blend(canvas, shaded)


def _checked(field: Tensor) -> Tensor:
    if field.ndim != 3 or field.shape[0] != field.shape[1] or field.shape[2] != 2:
        raise ValueError(f"field has shape {tuple(field.shape)}; expected (S, S, 2), one face's.")
    return field.detach()


def _array(field: Tensor) -> npt.NDArray[np.float32]:
    """The field; what is far off or not finite comes nearer, so that it can be drawn."""
    array: npt.NDArray[np.float32] = np.nan_to_num(_checked(field).float().cpu().numpy()).clip(-FAR, FAR)
    return array


def _folds(field: Tensor) -> npt.NDArray[np.bool_]:
    """Which cells of four pixels fold over, shape ``(S - 1, S - 1)``."""
    return np.asarray((jacobian_determinant(_checked(field)[None])[0] < 0).cpu().numpy())


def _canvas(size: int, image: ByteArray | None, smallest: int) -> ByteArray:
    return enlarge(np.full((size, size, 3), PAPER, dtype=np.uint8) if image is None else image, smallest)


def _blend(canvas: ByteArray, shaded: ByteArray) -> ByteArray:
    return np.asarray(cv2.addWeighted(canvas, 1 - _TINT, shaded, _TINT, 0), dtype=np.uint8)


def _flow_colours(displacement: Tensor, longest: float) -> ByteArray:
    """Middlebury colours of displacements ``(H, W, 2)``; those of length ``longest`` or more are fully saturated."""
    longest = max(longest, 1e-6)
    length = displacement.norm(dim=-1, keepdim=True)
    flow = displacement / longest * (longest / length.clamp_min(1e-12)).clamp(max=1)
    # `flow_to_image` scales by the longest vector it is given: one row of unit vectors sets that scale.
    unit = torch.tensor([1.0, 0.0]).expand(1, flow.shape[1], 2)
    colours = flow_to_image(torch.cat([flow, unit]).permute(2, 0, 1).float())[:, :-1]
    return np.ascontiguousarray(colours.permute(1, 2, 0).numpy())


def _with_legend(picture: ByteArray) -> ByteArray:
    """Put the colour wheel into the lower right corner."""
    radius = round(_LEGEND * picture.shape[0] / 2)
    along = torch.arange(-radius, radius + 1) / radius
    y, x = torch.meshgrid(along, along, indexing="ij")
    wheel = _flow_colours(torch.stack([x, y], dim=-1), 1.0)
    middle = picture.shape[0] - round(1.15 * radius)
    place = picture[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1]
    inside = (x.square() + y.square() <= 1).numpy()
    place[inside] = wheel[inside]
    cv2.circle(picture, (middle, middle), radius, INK, line_width(picture), cv2.LINE_AA)
    return picture
