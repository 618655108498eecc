"""Gradients spread over neighbouring landmarks: the identity forward, a descent direction backward."""

import numpy as np
import pytest
import torch

from lightning_modules.warping import PixelMSE, WarperObjective, spread_gradient
from tests.lightning_modules.warping.layouts import random_faces, smooth_images


def test_points_pass_unchanged_and_gradients_are_spread() -> None:
    points = random_faces(2, seed=1).requires_grad_()
    upstream = torch.randn(2, 68, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spread = spread_gradient(points, 0.1)
    assert torch.equal(spread, points)
    (gradient,) = torch.autograd.grad(spread, points, upstream)
    for p, g, found in zip(points.detach().numpy(), upstream.numpy(), gradient.numpy(), strict=True):
        kernel = np.exp(-(np.linalg.norm(p[:, None] - p[None], axis=-1) ** 2) / (2 * 0.1**2))
        scale = np.diag(kernel.sum(axis=1) ** -0.5)
        np.testing.assert_allclose(found, scale @ kernel @ scale @ g, atol=1e-12)


@pytest.mark.parametrize("reach", [1e-4, 0.05, 0.3, 10.0])
def test_it_stays_a_descent_direction(reach: float) -> None:
    points = random_faces(4, seed=3).requires_grad_()
    upstream = torch.randn(4, 68, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(spread_gradient(points, reach), points, upstream)
    assert ((gradient * upstream).sum(dim=(1, 2)) > 0).all()
    assert (gradient.norm(dim=(1, 2)) <= upstream.norm(dim=(1, 2)) * (1 + 1e-9)).all()


def test_coinciding_landmarks_have_finite_gradients() -> None:
    points = torch.zeros(1, 68, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(spread_gradient(points, 0.1).sum(), points)
    assert gradient.isfinite().all()
    for reach in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"reach is .*above 0"):
            spread_gradient(points, reach)


def test_the_objective_spreads_its_gradient_and_keeps_its_value() -> None:
    photo, stylised = smooth_images(2, 48, seed=1), smooth_images(2, 48, seed=2)
    labels, predicted = random_faces(2, seed=7).float(), random_faces(2, seed=8).float().requires_grad_()
    plain = WarperObjective(PixelMSE())(photo, labels, stylised, predicted).image.sum()
    spread = WarperObjective(PixelMSE(), gradient_reach=0.1)(photo, labels, stylised, predicted).image.sum()
    assert torch.equal(plain, spread)
    (own,) = torch.autograd.grad(plain, predicted)
    (shared,) = torch.autograd.grad(spread, predicted)
    (expected,) = torch.autograd.grad(spread_gradient(predicted, 0.1), predicted, own)
    torch.testing.assert_close(shared, expected)
    with pytest.raises(ValueError, match="gradient_reach is -1"):
        WarperObjective(gradient_reach=-1)
