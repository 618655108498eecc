"""Samples of a map around landmarks: SLPT's patches, and the windows of SPIGA and of SBR's tracking."""

import torch
from torch import Tensor

from lightning_modules.coordinates import crop_to_sampling, signed
from lightning_modules.sampling import sample


def patch_boxes(centres: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """The squares around landmarks, cut off at the crop's border as in the published program.

    Args:
        centres: landmarks in crop coordinates, shape ``(B, N, 2)``.
        side: the square's side as a share of the crop's.

    Returns:
        The boxes' upper left corners and their extents, crop coordinates, each of shape ``(B, N, 2)``.
    """
    lower = (centres - side / 2).clamp(0, 1)
    upper = (centres + side / 2).clamp(0, 1)
    return lower, upper - lower


def sample_patches(features: Tensor, lower: Tensor, extent: Tensor, size: int) -> Tensor:
    """Sample each box at ``size`` × ``size`` points, borders included, bilinearly.

    The published weights place crop coordinate 0 at the centre of the map's first pixel and 1 at the centre of its
    last: ``align_corners=True`` in the terms of ``grid_sample``.

    Args:
        features: feature map, shape ``(B, C, h, w)``.
        lower: upper left corners of the boxes, crop coordinates, shape ``(B, N, 2)``.
        extent: their width and height, shape ``(B, N, 2)``.
        size: points along each side, at least 2.

    Returns:
        Shape ``(B, N, C, size, size)``, rows (y) before columns (x).
    """
    steps = torch.linspace(0, 1, size, dtype=lower.dtype, device=lower.device)
    along = lower[..., None, :] + extent[..., None, :] * steps[:, None]
    x = along[..., None, :, 0].expand(-1, -1, size, -1)
    y = along[..., :, None, 1].expand(-1, -1, -1, size)
    grid = signed(torch.stack([x, y], dim=-1).flatten(2, 3))
    # Under autocast the features may be bfloat16, whose positions would be whole feature pixels apart.
    features = features.to(grid.dtype)
    sampled = sample(features, grid, "border", align_corners=True)
    return sampled.transpose(1, 2).reshape(*lower.shape[:2], -1, size, size)


def sample_windows(features: Tensor, centres: Tensor, reach: float, points: int) -> Tensor:
    """Sample a square window of a map around each landmark, bilinearly; borders repeat beyond the map.

    Cell j of the map lies at crop coordinate ``j / h``, as pixels do in an image.

    Args:
        features: feature map or images, shape ``(B, C, h, h)``.
        centres: crop coordinates, shape ``(B, N, 2)``; the gradient flows to them as well.
        reach: from the centre to the outermost samples, in crop coordinates.
        points: samples along each side.

    Returns:
        Shape ``(B, N, C, points, points)``, rows (y) before columns (x).
    """
    steps = torch.linspace(-reach, reach, points, dtype=centres.dtype, device=centres.device)
    along = centres[..., None, :] + steps[:, None]
    x = along[..., None, :, 0].expand(-1, -1, points, -1)
    y = along[..., :, None, 1].expand(-1, -1, -1, points)
    grid = crop_to_sampling(torch.stack([x, y], dim=-1).flatten(2, 3), features.shape[-1])
    # Under autocast the features may be bfloat16, whose positions would be whole feature pixels apart.
    sampled = sample(features.to(grid.dtype), grid, "border")
    return sampled.transpose(1, 2).reshape(*centres.shape[:2], -1, points, points)
