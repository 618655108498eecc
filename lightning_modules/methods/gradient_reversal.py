"""Gradient reversal (Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML 2015)."""

import math
from typing import Any, cast

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """The same values; the gradient that comes back is multiplied by ``-strength`` (λ), whatever the shape."""
    return cast(Tensor, _Reversal.apply(features, strength))


def reversal_strength(progress: float, steepness: float = 10.0) -> float:
    """λ over a run: 2 / (1 + exp(-γ p)) - 1, from 0 at its beginning to nearly 1, so that early noise does no harm.

    Args:
        progress: p, the share of the run that is done.
        steepness: γ.
    """
    return 2 / (1 + math.exp(-steepness * progress)) - 1
