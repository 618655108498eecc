"""What can be done with any warping field, whatever gave it: warp a photo, find what falls outside, count folds.

A field is a tensor of shape ``(B, S, S, 2)``: for every pixel of the stylised crop, the photo coordinate (x, y) it
takes its colour from, both in crop coordinates (:mod:`lightning_modules.coordinates`).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.coordinates import crop_to_sampling

Padding = Literal["border", "zeros"]


def warp_image(image: Tensor, field: Tensor, padding_mode: Padding = "border") -> Tensor:
    """Warp a photo onto a stylised face: ``warped(x) = photo(w(x))``, bilinear.

    The gradient reaches both the image and the field. Autocast is switched off inside.

    Args:
        image: the photo, shape ``(B, C, H, H)``.
        field: crop coordinates in the photo, shape ``(B, S, S, 2)``.
        padding_mode: what lies outside the photo: its border's colour, or black.

    Returns:
        The warped photo in the image's floating type, shape ``(B, C, S, S)``.

    Raises:
        ValueError: the photo is not square.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise ValueError(f"image has {height}×{width} pixels; crop coordinates need a square crop. Crop it first.")
    with torch.autocast(image.device.type, enabled=False):
        sampling = crop_to_sampling(field, width)
        warped = F.grid_sample(image.to(field.dtype), sampling, "bilinear", padding_mode, align_corners=False)
    return warped.to(image.dtype)


def inside_photo(field: Tensor, photo_size: int | None = None) -> Tensor:
    """Which pixels of the stylised crop take their colour from within the photo (the validity mask).

    Args:
        field: crop coordinates in the photo, shape ``(B, S, S, 2)``.
        photo_size: side of the photo in pixels; the field's own side if None.

    Returns:
        1 where the photo coordinate lies between the centres of its outermost pixels, so that padding plays no part,
        and 0 elsewhere; shape ``(B, 1, S, S)``, without gradient.
    """
    size = photo_size or field.shape[1]
    # A thousandth of a pixel of slack, so that rounding does not put the identity's own border outside.
    pixels = field.detach() * size
    inside = ((pixels >= -1e-3) & (pixels <= size - 1 + 1e-3)).all(dim=-1)
    return inside.unsqueeze(1).to(field.dtype)


def jacobian_determinant(field: Tensor) -> Tensor:
    """How much the field enlarges area at each cell of four pixels; negative where it folds over.

    Args:
        field: shape ``(B, S, S, 2)``, S ≥ 2.

    Returns:
        Determinant of the forward differences, 1 for the identity, shape ``(B, S - 1, S - 1)``.
    """
    size = field.shape[1]
    along_x = (field[:, :-1, 1:] - field[:, :-1, :-1]) * size
    along_y = (field[:, 1:, :-1] - field[:, :-1, :-1]) * size
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def folding(field: Tensor) -> Tensor:
    """Share of the crop where the field folds over, i.e. its Jacobian determinant is negative.

    Args:
        field: shape ``(B, S, S, 2)``, S ≥ 2.

    Returns:
        A number in [0, 1] per face, shape ``(B,)``, without gradient.
    """
    return (jacobian_determinant(field.detach()) < 0).to(field.dtype).mean(dim=(1, 2))


def cubic_upsample(nodes: Tensor, size: int) -> Tensor:
    """Upsample a field known on a coarse grid to every pixel, by Catmull-Rom cubic interpolation.

    ``F.interpolate(mode="bicubic")`` will not do: its cubic (a = -0.75) does not reproduce even a linear function, and
    it repeats the border. Catmull-Rom (Keys 1981, a = -0.5) reproduces quadratics, and with a ring of nodes around
    the image it does so up to the border, so affine fields come out exact.

    Args:
        nodes: the field at ``N × N`` nodes spaced ``(size - 1) / (N - 3)`` pixels apart, of which the outermost ring
            lies one spacing outside the image (see :func:`node_positions`), shape ``(B, C, N, N)``.
        size: side of the result in pixels.

    Returns:
        The field at every pixel, shape ``(B, C, size, size)``.
    """
    weights = _catmull_rom(size, nodes.shape[-1] - 2, nodes)
    return weights @ (nodes @ weights.mT)


def node_positions(size: int, coarse: int, like: Tensor) -> Tensor:
    """Where :func:`cubic_upsample` wants its nodes, along either axis.

    Args:
        size: side of the image in pixels.
        coarse: number of nodes from the first pixel's centre to the last one's, at least 2.
        like: a tensor of the wanted device and type.

    Returns:
        Crop coordinates of the nodes with one more at each end, shape ``(coarse + 2,)``.
    """
    steps = torch.arange(-1, coarse + 1, device=like.device, dtype=like.dtype)
    return steps * ((size - 1) / (coarse - 1) / size)


def _catmull_rom(size: int, coarse: int, like: Tensor) -> Tensor:
    """Interpolation weights from ``coarse + 2`` nodes to ``size`` pixels, shape ``(size, coarse + 2)``."""
    position = torch.arange(size, device=like.device, dtype=like.dtype) * ((coarse - 1) / (size - 1))
    cell = position.floor().clamp(max=coarse - 2)
    t = position - cell
    weights = torch.stack(
        [
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        ],
        dim=1,
    )
    columns = cell.long()[:, None] + torch.arange(4, device=like.device)
    return like.new_zeros(size, coarse + 2).scatter_(1, columns, weights)
