"""Face shapes as points: similarity alignment (Procrustes)."""

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
