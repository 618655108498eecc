"""The losses of STAR: one for the positions read off heatmaps, one for edge and point maps."""

import torch
import torch.nn.functional as F
from kornia.geometry.subpix import spatial_expectation2d
from torch import Tensor

from lightning_modules.landmarkers.base import full_precision

SMALLEST_VARIANCE = 1e-5
"""Added to variances before they divide, in squared units of half the map's side."""


def heatmap_moments(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean position under each heatmap, and its unbiased covariance.

    Args:
        heatmaps: not negative, shape ``(B, K, h, w)``. One that is zero throughout has mean and covariance zero.

    Returns:
        Means, shape ``(B, K, 2)``, (x, y) with -1 in the first cell and 1 in the last, and covariances,
        ``(B, K, 2, 2)``, in the same units squared.
    """
    weights = heatmaps / heatmaps.sum((-1, -2), keepdim=True).clamp_min(1e-6)
    means = spatial_expectation2d(weights)
    x = torch.linspace(-1, 1, heatmaps.shape[-1], device=heatmaps.device, dtype=heatmaps.dtype)
    y = torch.linspace(-1, 1, heatmaps.shape[-2], device=heatmaps.device, dtype=heatmaps.dtype)
    from_x, from_y = x - means[..., :1], y - means[..., 1:]
    along_x, along_y = weights.sum(-2), weights.sum(-1)
    var_x, var_y = (along_x * from_x.square()).sum(-1), (along_y * from_y.square()).sum(-1)
    with full_precision(heatmaps):
        cov = (torch.einsum("bkhw,bkw->bkh", weights, from_x) * from_y).sum(-1)
    covariance = torch.stack([var_x, cov, cov, var_y], dim=-1).view(*var_x.shape, 2, 2)
    # Reliability weights: the sample covariance over 1 - Σw² is unbiased.
    total = weights.sum((-1, -2)) + 1e-5
    degrees = total - (weights.square().sum((-1, -2)) + 1e-5) / total
    return means, covariance / degrees.clamp_min(1e-6)[..., None, None]


def star_loss(heatmaps: Tensor, target: Tensor, restriction: float = 1.0, beta: float = 0.01) -> Tensor:
    """STAR: a heatmap's error along each of its principal axes, discounted where the heatmap is wide.

    A landmark on a smooth contour is ambiguous along it: annotators differ, heatmaps widen. Errors along an axis count
    by the inverse of the heatmap's standard deviation on it; the variances themselves are added, lest they grow to
    escape the errors (Zhou et al., CVPR 2023, eq. 2–6).

    The axes enter through projections, not eigenvectors, whose gradient is infinite for a round heatmap.

    Args:
        heatmaps: not negative, shape ``(B, K, h, w)``.
        target: (x, y) with -1 in the first cell and 1 in the last, shape ``(B, K, 2)``.
        restriction: weight of the variances (ω).
        beta: errors below it count quadratically (smooth L1).

    Returns:
        Per face, mean over landmarks, shape ``(B,)``.
    """
    means, covariance = heatmap_moments(heatmaps)
    error = target - means
    middle = (covariance[..., 0, 0] + covariance[..., 1, 1]) / 2
    tilt = torch.stack([(covariance[..., 0, 0] - covariance[..., 1, 1]) / 2, covariance[..., 0, 1]], dim=-1)
    radius = (tilt.square().sum(-1) + 1e-14).sqrt()
    # With D the trace-free part of the covariance, (I ± D/r)/2 project onto its axes: |e_±|² = (|e|² ± eᵀDe/r)/2.
    square = error.square()
    quadratic = tilt[..., 0] * (square[..., 0] - square[..., 1]) + 2 * tilt[..., 1] * error[..., 0] * error[..., 1]
    loss = restriction * 2 * middle.abs()
    for sign in (1, -1):
        variance = (middle + sign * radius).clamp_min(0)
        along = ((square.sum(-1) + sign * quadratic / radius) / 2).clamp_min(1e-12).sqrt()
        distance = F.smooth_l1_loss(along, torch.zeros_like(along), reduction="none", beta=beta)
        loss = loss + distance / (variance + SMALLEST_VARIANCE).sqrt()
    return loss.mean(-1)


def adaptive_wing_loss(maps: Tensor, target: Tensor) -> Tensor:
    """AWing: steeper where the target is high than on its background; cells next to a line count eleven times.

    Wang, Bo, Fuxin: "Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression", ICCV 2019, eq. 4 and 8,
    with their α = 2.1, ω = 14, ε = 1, θ = 0.5 and W = 10.

    Args:
        maps: shape ``(B, K, h, w)``.
        target: in [0, 1], the same shape.

    Returns:
        Per face, mean over maps and cells, shape ``(B,)``.
    """
    alpha, omega, theta, strictness = 2.1, 14.0, 0.5, 10.0
    error = (maps - target).abs()
    power = alpha - target
    slope = omega * power * theta ** (power - 1) / (1 + theta**power)
    curved = omega * torch.log1p(error**power)
    straight = slope * (error - theta) + omega * torch.log1p(theta**power)
    loss = torch.where(error < theta, curved, straight)
    near = F.max_pool2d(target, 3, stride=1, padding=1) >= 0.2
    return (loss * (1 + strictness * near)).flatten(1).mean(-1)
