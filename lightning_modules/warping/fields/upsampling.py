"""A field evaluated at a coarse grid of nodes, brought to every pixel by Catmull-Rom interpolation."""

import torch
from torch import Tensor


def cubic_upsample(nodes: Tensor, size: int) -> Tensor:
    """Upsample a field from a coarse grid of nodes to every pixel.

    Not by ``F.interpolate(mode="bicubic")``, whose cubic (a = -0.75) does not reproduce linear functions, and which
    repeats the border. Catmull-Rom (Keys 1981, a = -0.5) reproduces quadratics, and with a ring of nodes around the
    image it does so up to the border; affine fields are therefore exact.

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
    """Positions of the nodes of :func:`cubic_upsample` along either axis.

    Args:
        size: side of the image in pixels.
        coarse: number of nodes from the first pixel's centre to the last one's, at least 2.
        like: a tensor of the wanted device and type.

    Returns:
        Crop coordinates of the nodes, with one more at each end, shape ``(coarse + 2,)``.
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
