"""Gradient reversal by finite differences, and its strength over a run."""

import math

import pytest
import torch
from torch import Tensor

from lightning_modules.methods.revgrad import reversal_strength, reverse_gradient


def judge(features: Tensor, weights: Tensor) -> Tensor:
    return torch.sin(features * weights).square().sum()


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_gradient_is_minus_strength_times_the_slope(strength: float) -> None:
    features, weights = torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_(), torch.randn(3, 1, 1).double()
    judge(reverse_gradient(features, strength), weights).backward()
    assert features.grad is not None
    step = 1e-6
    for place in range(0, features.numel(), 7):
        change = torch.zeros(features.numel(), dtype=torch.float64)
        change[place] = step
        change = change.view_as(features)
        with torch.no_grad():
            slope = (judge(features + change, weights) - judge(features - change, weights)) / (2 * step)
        assert float(features.grad.flatten()[place]) == pytest.approx(-strength * float(slope), abs=1e-8)


def test_values_and_what_lies_above_are_left_alone() -> None:
    features, weights = torch.randn(2, 3), torch.randn(3).requires_grad_()
    assert torch.equal(reverse_gradient(features, 0.7), features)
    (reversed_,) = torch.autograd.grad(judge(reverse_gradient(features, 0.7), weights), weights)
    (plain,) = torch.autograd.grad(judge(features, weights), weights)
    assert torch.equal(reversed_, plain)
    assert reversed_.abs().sum() > 0


def test_a_reversed_reversal_is_none() -> None:
    features = torch.randn(4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: reverse_gradient(reverse_gradient(x, 0.5), 2.0).sin(), features, check_undefined_grad=False
    )


def test_the_strength_grows_from_nothing_to_one() -> None:
    # 2 / (1 + exp(-2x)) - 1 is the hyperbolic tangent of x.
    progress = [0.0, 0.05, 0.1, 0.5, 1.0]
    assert [reversal_strength(p) for p in progress] == pytest.approx([math.tanh(5 * p) for p in progress])
    assert [reversal_strength(p) for p in (0, 0.1, 1)] == pytest.approx([0, 0.462117, 0.999909], abs=1e-6)
    assert reversal_strength(0.2, steepness=5) == pytest.approx(reversal_strength(0.1))
