"""Every coordinate frame of the project, and the ways between them.

*Image pixels*: (x, y) in the original image, pixel centres at integers, counted from 0.

*Crop coordinates*: ``p = x_px / size`` in the square crop of ``size`` pixels: pixel i lies at ``i / size``, so the last
one is at ``(size - 1) / size`` and not at 1.

*Sampling grid*: the frame of ``torch.nn.functional.grid_sample`` with ``align_corners=False``, which puts -1 and 1 at
the outer *edges* of the first and last pixel.

*Heatmap cells*: a heatmap of w cells a side over a crop of S pixels has stride s = S/w. Its cell j covers the pixels
s·j to s·j + s - 1. Which point of the crop a landmark on cell j means is each network's convention, the ``offset`` o in
cells: p = (j + o) / w. See :mod:`lightning_modules.landmarkers.heatmaps`.
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
    image_pixels: Tensor = torch.linalg.solve(matrices[:, :, :2], pixels.mT).mT
    return image_pixels


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


def cell_centre(stride: float) -> float:
    """The offset at which cell j means the middle of the ``stride`` pixels it covers: (s - 1) / (2 s) cells."""
    return (stride - 1) / (2 * stride)


def map_positions(heatmaps: Tensor, offset: float = 0.0) -> Tensor:
    """Crop coordinates (x, y) of a landmark on each cell, shape ``(h, w, 2)``, float32."""
    height, width = heatmaps.shape[-2:]
    rows, columns = (torch.arange(side, device=heatmaps.device) + offset for side in (height, width))
    return torch.stack(torch.meshgrid(columns / width, rows / height, indexing="xy"), dim=-1)
