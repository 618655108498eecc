"""Similarity alignment of face shapes (Procrustes)."""

import torch
from torch import Tensor


def align(shape: Tensor, onto: Tensor) -> Tensor:
    """Move, rotate and scale shapes onto others by the least-squares similarity (without reflection).

    Args:
        shape: shape ``(B, K, 2)`` or ``(K, 2)``.
        onto: in the same frame, shape ``(B, K, 2)``.

    Returns:
        ``shape`` under that similarity, shape ``(B, K, 2)``. If its points coincide, they move to the other's centre.

    Source: Umeyama, Least-Squares Estimation of Transformation Parameters, 1991; in two dimensions, where rotation and
    scale together are one complex factor.
    """
    shape = shape.expand_as(onto)
    centre, goal = shape.mean(-2, keepdim=True), onto.mean(-2, keepdim=True)
    a = torch.view_as_complex((shape - centre).contiguous())
    b = torch.view_as_complex((onto - goal).contiguous())
    norm = (a.abs() ** 2).sum(-1, keepdim=True).clamp_min(1e-12)
    turn = (a.conj() * b).sum(-1, keepdim=True) / norm
    return torch.view_as_real(a * turn) + goal
