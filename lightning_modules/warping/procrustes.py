"""Similarity alignment of face shapes (Procrustes)."""

from dataclasses import dataclass

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
    return similarity(shape.expand_as(onto), onto).apply(shape.expand_as(onto))


@dataclass(frozen=True)
class Similarity:
    """x → turn · (x - centre) + goal, of B faces, with points as complex numbers.

    Attributes:
        turn: rotation and scale, complex, shape ``(B, 1)``.
        centre: what is moved, shape ``(B, 1, 2)``.
        goal: where it is moved to, shape ``(B, 1, 2)``.
    """

    turn: Tensor
    centre: Tensor
    goal: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Move points, shape ``(B, K, 2)``."""
        turned = torch.view_as_complex((points - self.centre).contiguous()) * self.turn
        return torch.view_as_real(turned) + self.goal

    def undo(self, points: Tensor) -> Tensor:
        """Where points, ``(B, K, 2)``, were before; all at the centre if the shape had no extent."""
        moved = torch.view_as_complex((points - self.goal).contiguous())
        back = moved * self.turn.conj() / (self.turn.abs() ** 2).clamp_min(1e-12)
        return torch.view_as_real(back) + self.centre


def similarity(shape: Tensor, onto: Tensor) -> Similarity:
    """The similarity of :func:`align`; both shapes are ``(B, K, 2)``."""
    centre, goal = shape.mean(-2, keepdim=True), onto.mean(-2, keepdim=True)
    a = torch.view_as_complex((shape - centre).contiguous())
    b = torch.view_as_complex((onto - goal).contiguous())
    norm = (a.abs() ** 2).sum(-1, keepdim=True).clamp_min(1e-12)
    return Similarity((a.conj() * b).sum(-1, keepdim=True) / norm, centre, goal)
