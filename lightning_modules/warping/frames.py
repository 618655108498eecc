"""The two coordinate frames of warping: crop coordinates and ``grid_sample``'s.

*Crop coordinates* are ``p = x_px / size`` with pixel centres at integers: pixel i lies at ``i / size``, so the last
one is at ``(size - 1) / size`` and not at 1. ``torch.nn.functional.grid_sample`` with ``align_corners=False`` puts -1
and 1 at the outer *edges* of the first and last pixel. All sampling in this project goes through the functions here.
"""

import torch
from torch import Tensor


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
    return 0.5 * (points + (1.0 - 1.0 / size))


def mesh(positions: Tensor) -> Tensor:
    """Every (x, y) of a square grid, rows first.

    Args:
        positions: the grid's positions along either axis, shape ``(N,)``.

    Returns:
        Shape ``(N, N, 2)``; element ``[row, column]`` is ``(positions[column], positions[row])``.
    """
    y, x = torch.meshgrid(positions, positions, indexing="ij")
    return torch.stack([x, y], dim=-1)


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
