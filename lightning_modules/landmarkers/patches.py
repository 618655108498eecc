"""Samples of a map around landmarks: SLPT's patches, and the windows of SPIGA and of SBR's tracking."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.coordinates import crop_to_sampling, signed
from lightning_modules.devices import constant, traced
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
        Shape ``(B, N, size, size, C)``, rows (y) before columns (x). The gradient flows to the features alone.
    """
    steps = torch.linspace(0, 1, size, dtype=lower.dtype, device=lower.device)
    along = lower.detach()[..., None, :] + extent.detach()[..., None, :] * steps[:, None]
    sampled = _way_for(features)(features, along)
    return sampled.reshape(*lower.shape[:2], size, size, features.shape[1])


def _way_for(features: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The fastest way there: of a map, and P places in x and in y for each landmark, crop coordinates ``(B, N, P, 2)``.

    Each gives the samples at all pairs of those, shape ``(B, N * P * P, C)``.
    """
    if traced():
        return _sampled
    return _multiplied if features.is_cuda and features.dtype in (torch.bfloat16, torch.float16) else _gathered


def _sampled(features: Tensor, along: Tensor) -> Tensor:
    """By ``grid_sample``, which other programs know, of networks that are exported."""
    points = along.shape[2]
    x = along[..., None, :, 0].expand(-1, -1, points, -1)
    y = along[..., :, None, 1].expand(-1, -1, -1, points)
    grid = signed(torch.stack([x, y], dim=-1).flatten(1, 3)[:, None])
    # Under autocast the features may be bfloat16, whose positions would be whole feature pixels apart.
    return sample(features.to(grid.dtype), grid, "border", align_corners=True)[:, :, 0].transpose(1, 2).contiguous()


def _gathered(features: Tensor, along: Tensor) -> Tensor:
    """As weighted sums of pixels, a row of channels each: half the time of ``grid_sample`` on a CPU.

    A place that is not a number gives samples that are none.
    """
    features = features.to(along.dtype)
    batch, channels, height, width = features.shape
    # Borders repeat.
    places = along.clamp(0, 1) * constant((width - 1, height - 1), along.device, along.dtype)
    # The pixel left of a place, or above it, with one beside it; as numbers, so that all of them index a pixel.
    last = constant((width - 2, height - 2), along.device, along.dtype)
    first = places.floor().nan_to_num().clamp_min(0).minimum(last)
    shares = torch.stack([1 - (places - first), places - first], dim=-1)
    pixels = first.long()[..., None] + torch.arange(2, device=along.device)
    images = torch.arange(batch, device=along.device).view(batch, 1, 1, 1, 1, 1) * height * width
    # Shapes (B, N, P, 1, 2, 1) of rows and (B, N, 1, P, 1, 2) of columns.
    index = images + pixels[:, :, :, None, 1, :, None] * width + pixels[:, :, None, :, 0, None, :]
    weights = shares[:, :, :, None, 1, :, None] * shares[:, :, None, :, 0, None, :]
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    sums = F.embedding_bag(index.reshape(-1, 4), table, mode="sum", per_sample_weights=weights.reshape(-1, 4))
    return sums.view(batch, -1, channels)


def _multiplied(features: Tensor, along: Tensor) -> Tensor:
    """As matrix products in half precision, first along y, then along x: a third of ``grid_sample``'s time on an H200.

    Places are computed in their own precision; what pixels count is rounded to half precision, as what they hold is.
    """
    batch, channels, height, width = features.shape
    landmarks, points = along.shape[1:3]
    rows, columns = (_shares(along[..., axis], side).to(features.dtype) for axis, side in ((1, height), (0, width)))
    bands = rows.flatten(1, 2) @ features.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    bands = bands.view(batch * landmarks, points, width, channels)
    return (columns.reshape(batch * landmarks, 1, points, width) @ bands).reshape(batch, -1, channels)


def _shares(places: Tensor, side: int) -> Tensor:
    """How much each of ``side`` pixels counts at a place in [0, 1] between the first and the last, ``(…, side)``."""
    pixels = torch.arange(side, device=places.device, dtype=places.dtype)
    return (1 - (places.clamp(0, 1)[..., None] * (side - 1) - pixels).abs()).clamp_min(0)


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
