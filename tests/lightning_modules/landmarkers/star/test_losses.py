import math

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers.star.losses import adaptive_wing_loss, heatmap_moments, star_loss


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def reference_star(heatmap: np.ndarray, target: np.ndarray) -> float:
    """The published definition for one heatmap, with NumPy's weighted covariance and eigenvectors."""
    height, width = heatmap.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    points, weights = np.stack([x.ravel(), y.ravel()]), heatmap.ravel() / heatmap.sum()
    error = target - points @ weights
    values, vectors = np.linalg.eigh(np.cov(points, aweights=weights))
    loss = values.sum()
    for value, vector in zip(values, vectors.T, strict=True):
        along = abs(vector @ error)
        loss += (along**2 / 0.02 if along < 0.01 else along - 0.005) / math.sqrt(value + 1e-5)
    return float(loss)


def test_moments_are_numpys() -> None:
    heatmaps = rand(2, 3, 7, 9)
    means, covariances = heatmap_moments(heatmaps)
    y, x = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 9), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()])
    for b in range(2):
        for k in range(3):
            weights = heatmaps[b, k].flatten().numpy()
            np.testing.assert_allclose(means[b, k], np.average(points, axis=1, weights=weights), atol=1e-12)
            np.testing.assert_allclose(covariances[b, k], np.cov(points, aweights=weights), rtol=1e-4)


def test_star_is_the_published_definition() -> None:
    heatmaps, target = rand(2, 5, 8, 8) ** 4, 2 * rand(2, 5, 2) - 1
    target[0, :2] = heatmap_moments(heatmaps)[0][0, :2] + 0.004  # where errors count quadratically
    expected = [
        np.mean([reference_star(heatmaps[b, k].numpy(), target[b, k].numpy()) for k in range(5)]) for b in range(2)
    ]
    np.testing.assert_allclose(star_loss(heatmaps, target), expected, rtol=1e-4)


def test_star_forgives_errors_along_a_contour() -> None:
    """A heatmap three times as wide in x: an error in x counts a third of one in y."""
    x = torch.linspace(-1, 1, 63)
    heatmap = torch.exp(-((x / 0.3).square() + (x[:, None] / 0.1).square()) / 2)[None, None]
    along, across = (star_loss(heatmap, torch.tensor([[error]]), restriction=0.0) for error in ([0.2, 0.0], [0.0, 0.2]))
    assert (across / along).item() == pytest.approx(3, rel=0.02)


def test_star_has_gradients_even_for_round_heatmaps() -> None:
    """Where an eigenvector's gradient would be infinite."""
    heatmaps = (0.1 + rand(1, 2, 4, 5)).requires_grad_()
    target = 2 * rand(1, 2, 2) - 1
    assert torch.autograd.gradcheck(lambda maps: star_loss(maps, target), (heatmaps,))
    flat = torch.ones(1, 1, 6, 6, requires_grad=True)
    star_loss(flat, torch.tensor([[[0.3, 0.2]]])).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    assert flat.grad.abs().max() > 0


def reference_wing(output: float, target: float) -> float:
    """Adaptive wing loss of one cell, Wang et al., eq. 4."""
    delta, power = abs(output - target), 2.1 - target
    if delta < 0.5:
        return 14 * math.log(1 + delta**power)
    slope = 14 / (1 + 0.5**power) * power * 0.5 ** (power - 1)
    return slope * delta - (0.5 * slope - 14 * math.log(1 + 0.5**power))


def test_wing_is_its_definition_with_weights_near_lines() -> None:
    maps = rand(1, 1, 6, 6)
    target = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    target[0, 0, 2, 2], target[0, 0, 5, 5] = 0.9, 0.1
    total = 0.0
    for y in range(6):
        for x in range(6):
            near = 1 <= y <= 3 and 1 <= x <= 3
            total += (11 if near else 1) * reference_wing(float(maps[0, 0, y, x]), float(target[0, 0, y, x]))
    assert adaptive_wing_loss(maps, target).item() == pytest.approx(total / 36, rel=1e-9)
    assert adaptive_wing_loss(target, target).item() == 0


def test_wing_has_gradients() -> None:
    maps, target = rand(1, 2, 4, 4).requires_grad_(), rand(1, 2, 4, 4).flip(-1)
    assert torch.autograd.gradcheck(lambda m: adaptive_wing_loss(m, target), (maps,))
