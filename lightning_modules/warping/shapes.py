"""Face shapes as points: similarity alignment (Procrustes), and gradients that move neighbours together."""

from typing import Any

import torch
from torch import Tensor


def align(shape: Tensor, onto: Tensor) -> Tensor:
    """Move, turn and scale shapes to lie as close as possible to others (least squares, no mirroring).

    Args:
        shape: shape ``(B, K, 2)`` or ``(K, 2)``.
        onto: same frame, shape ``(B, K, 2)``.

    Returns:
        ``shape`` under the best similarity, shape ``(B, K, 2)``. A shape whose points coincide comes back at the centre
        of the other.

    Source: Umeyama 1991, in two dimensions, where the turn and scale are one complex number.
    """
    shape = shape.expand_as(onto)
    centre, goal = shape.mean(-2, keepdim=True), onto.mean(-2, keepdim=True)
    a = torch.view_as_complex((shape - centre).contiguous())
    b = torch.view_as_complex((onto - goal).contiguous())
    norm = (a.abs() ** 2).sum(-1, keepdim=True).clamp_min(1e-12)
    turn = (a.conj() * b).sum(-1, keepdim=True) / norm
    return torch.view_as_real(a * turn) + goal


def spread_gradient(points: Tensor, reach: float) -> Tensor:
    """The points themselves, whose gradient is spread over neighbours on its way back.

    How well a warped image fits says little about one landmark and more about a part of the face: a descent step along
    the spread gradient moves parts before it moves single points (a Sobolev gradient: Sundaramoorthi, Yezzi, Mennucci,
    Sobolev Active Contours, 2007). It is a descent direction all the same, as the spreading is symmetric and positive
    definite: ``D^-½ K D^-½`` with ``K_ij = exp(-|p_i - p_j|² / (2 reach²))`` and D the diagonal of K's row sums.

    Args:
        points: shape ``(B, K, 2)``.
        reach: standard deviation of the spreading, in units of the points.

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
        # Differences, not cdist: its matrix-product form loses the distances of close points.
        squared = (points[:, :, None] - points[:, None]).square().sum(dim=-1)
        kernel = torch.exp(squared / (-2 * ctx.reach**2))
        root = kernel.sum(dim=2).rsqrt()
        return (kernel * root[:, :, None] * root[:, None, :]) @ gradients[0], None
