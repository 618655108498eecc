"""Every coordinate frame of the project, and the conversions between them. All are (x, y), x to the right and y down.

*Image pixels*: in the original image, pixel centres at integers, counted from 0.

*Crop coordinates*: ``p = x_px / size`` in the square crop of ``size`` pixels: pixel i lies at ``i / size``, so the last
one is at ``(size - 1) / size`` and not at 1.

*Sampling grid*: the frame of ``torch.nn.functional.grid_sample`` with ``align_corners=False``, which puts -1 and 1 at
the outer *edges* of the first and last pixel.

*Heatmap cells*: a heatmap of w cells a side over a crop of S pixels has stride s = S/w. Its cell j covers the pixels
s·j to s·j + s - 1. Which point of the crop a *landmark on cell j* means is each network's convention, the ``offset`` o
in cells:

    p = (j + o) / w        that is, pixel s·(j + o)

- o = 0, the default: cell j means pixel s·j, the first one it covers, where convolutions of odd kernel and stride s
  centre it.
- o = (s - 1) / (2 s), :func:`cell_centre`: cell j means the middle of the pixels it covers, where 2×2 pooling centres
  it: half a cell less half a pixel further on.
- o = 1/2: HRNet as published, whose targets round landmarks down to whole cells and whose decoding adds half a cell.

Heatmaps drawn and read with the same offset agree; published weights need their own.
"""

import torch
from torch import Tensor


def to_image_pixels(landmarks: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Undo the crop: crop coordinates ``(B, 68, 2)`` to image pixels, in float64.

    Args:
        landmarks: ``p = x_px / size`` in the crop.
        matrices: image pixels to crop pixels, shape ``(B, 2, 3)``.
        size: side of the crop in pixels.
    """
    matrices = matrices.double()
    pixels = landmarks.double() * size - matrices[:, None, :, 2]
    return solve_2x2(matrices[:, None, :, :2], pixels)


def solve_2x2(matrices: Tensor, values: Tensor) -> Tensor:
    """x with A x = b by Cramer's rule, for A of shape ``(..., 2, 2)`` and b of shape ``(..., 2)``.

    Unlike ``torch.linalg.solve`` it does not check A, for which the host would wait; a singular one gives infinity.
    """
    (a, b), (c, d) = (row.unbind(dim=-1) for row in matrices.unbind(dim=-2))
    x, y = values.unbind(dim=-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]


def to_crop(landmarks: Tensor, matrices: Tensor, size: int) -> Tensor:
    """The inverse of :func:`to_image_pixels`: image pixels ``(B, 68, 2)`` to crop coordinates, in float64."""
    matrices = matrices.double()
    return (landmarks.double() @ matrices[:, :, :2].mT + matrices[:, None, :, 2]) / size


def crop_to_sampling(points: Tensor, size: int) -> Tensor:
    """Crop coordinates to the frame of ``grid_sample(..., align_corners=False)``.

    Args:
        points: (x, y) in crop coordinates of the sampled image, shape ``(..., 2)``.
        size: side of the sampled image in pixels.

    Returns:
        The same points in ``grid_sample``'s frame, shape ``(..., 2)``: pixel i is at ``(2 i + 1) / size - 1``.
    """
    return 2.0 * points + (1.0 / size - 1.0)


def sampling_to_crop(points: Tensor, size: int) -> Tensor:
    """Inverse of :func:`crop_to_sampling`.

    Args:
        points: (x, y) in ``grid_sample``'s frame (``align_corners=False``), shape ``(..., 2)``.
        size: side of the sampled image in pixels.

    Returns:
        The same points in crop coordinates, shape ``(..., 2)``.
    """
    return (points + 1) / 2 - 0.5 / size


def edge_shares(points: Tensor, size: int) -> Tensor:
    """Crop coordinates to shares of the crop between its outer edges: pixel i is at ``(i + 1/2) / size``."""
    return points + 0.5 / size


def signed(shares: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]: of :func:`edge_shares` to the sampling grid (rounded otherwise than there)."""
    return shares * 2 - 1


def mirrored(points: Tensor, size: int) -> Tensor:
    """Where points of a crop, ``(..., 2)``, lie in its mirror image: pixel x becomes ``size - 1 - x``."""
    return torch.stack([(size - 1) / size - points[..., 0], points[..., 1]], dim=-1)


def mesh(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Every (x, y) of a grid, rows first.

    Args:
        x: positions of its columns, shape ``(W,)``.
        y: positions of its rows, shape ``(H,)``; those of its columns if None.

    Returns:
        Shape ``(H, W, 2)``; element ``[row, column]`` is ``(x[column], y[row])``.
    """
    return torch.stack(torch.meshgrid(x, x if y is None else y, indexing="xy"), dim=-1)


def pixel_grid(size: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Where the pixels of a square image are: the identity warping field.

    Args:
        size: side of the image in pixels.
        device: where the result lives.
        dtype: its floating type.

    Returns:
        Crop coordinates (x, y) of each pixel centre, shape ``(size, size, 2)``.
    """
    return mesh(torch.arange(size, device=device, dtype=dtype) / size)


def cell_centre(stride: float) -> float:
    """The offset at which cell j means the middle of the ``stride`` pixels it covers: (s - 1) / (2 s) cells."""
    return (stride - 1) / (2 * stride)


def cell_positions(count: int, offset: float, like: Tensor) -> Tensor:
    """Where a landmark on each of ``count`` cells along one axis lies, in cells, shape ``(count,)``."""
    return torch.arange(count, device=like.device, dtype=like.dtype) + offset


def cells_to_crop(cells: Tensor, size: tuple[int, int], offset: float = 0.0) -> Tensor:
    """Crop coordinates of landmarks on ``cells``, ``(..., 2)``, of a heatmap of ``size`` (height, width)."""
    x, y = (cells + offset).unbind(dim=-1)
    return torch.stack([x / size[1], y / size[0]], dim=-1)


def map_positions(like: Tensor, offset: float = 0.0) -> Tensor:
    """Crop coordinates of a landmark on each cell of a heatmap ``(..., h, w)``: shape ``(h, w, 2)``, in its type."""
    height, width = like.shape[-2:]
    return mesh(cell_positions(width, offset, like) / width, cell_positions(height, offset, like) / height)
