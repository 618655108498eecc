"""Sparse local patches: what SLPT sees of an image, one small square around each landmark."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    grid = torch.stack([x, y], dim=-1).flatten(2, 3) * 2 - 1
    # Under autocast the features may be bfloat16, whose positions would be whole feature pixels apart.
    features = features.to(grid.dtype)
    sampled = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.transpose(1, 2).reshape(*lower.shape[:2], -1, size, size)
