"""Gradients of landmarks, smoothed over neighbouring landmarks."""

from typing import Any

import torch
from torch import Tensor


def spread_gradient(points: Tensor, reach: float) -> Tensor:
    """The identity on points, whose backward pass smooths the gradient over neighbouring points.

    The image term says little about a single landmark and more about a part of the face: a step along the smoothed
    gradient moves parts of the face rather than single points (a Sobolev gradient: Sundaramoorthi, Yezzi, Mennucci,
    Sobolev Active Contours, 2007). The smoothing matrix is ``D^-½ K D^-½``, with
    ``K_ij = exp(-|p_i - p_j|² / (2 reach²))`` and D the diagonal of K's row sums; as it is symmetric and positive
    definite, the result stays a descent direction.

    Args:
        points: shape ``(B, K, 2)``.
        reach: standard deviation of the smoothing, in units of the points.

    Returns:
        ``points``, shape ``(B, K, 2)``.

    Raises:
        ValueError: ``reach`` is not above 0.
    """
    if not reach > 0:
        raise ValueError(f"reach is {reach}; it must be above 0.")
    spread: Tensor = _SpreadGradient.apply(points, reach)
    return spread


class _SpreadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, reach: float) -> Tensor:
        ctx.save_for_backward(points)
        ctx.reach = reach
        return points.view_as(points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors
        # Under manual optimisation the backward pass runs within autocast, which would round the product to bfloat16.
        with torch.autocast(points.device.type, enabled=False):
            # Differences, not cdist: its matrix-product form loses the distances of close points.
            squared = (points[:, :, None] - points[:, None]).square().sum(dim=-1)
            kernel = torch.exp(squared / (-2 * ctx.reach**2))
            root = kernel.sum(dim=2).rsqrt()
            return (kernel * root[:, :, None] * root[:, None, :]) @ gradients[0], None
