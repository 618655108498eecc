"""Each gradient operator against scipy, and its derivative against finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.warping import Canny, ImageGradient, Laplacian, Sobel, SpatialGradient
from tests.lightning_modules.warping import numpy_images
from tests.lightning_modules.warping.layouts import smooth_images
from tests.lightning_modules.warping.numpy_images import Array, slope


def derivatives(plane: Array, mode: str, order: int) -> list[Array]:
    dx, dy = slope(plane, 1, mode), slope(plane, 0, mode)
    return [dx, dy] if order == 1 else [slope(dx, 1, mode), slope(dx, 0, mode), slope(dy, 0, mode)]


def length(parts: list[Array]) -> list[Array]:
    """Of a gradient, or of a Hessian, in which dxy stands twice."""
    squares = parts[0] ** 2 + parts[-1] ** 2 + (2 * parts[1] ** 2 if len(parts) == 3 else 0)
    return [np.sqrt(squares + 1e-6)]


CASES: list[tuple[type[ImageGradient], dict[str, Any], Callable[[Array], list[Array]]]] = [
    (Sobel, {}, lambda p: [numpy_images.sobel(p)]),
    (SpatialGradient, {}, lambda p: length(derivatives(p, "sobel", 1))),
    (SpatialGradient, {"magnitude": False}, lambda p: derivatives(p, "sobel", 1)),
    (SpatialGradient, {"mode": "diff"}, lambda p: length(derivatives(p, "diff", 1))),
    (SpatialGradient, {"mode": "diff", "magnitude": False}, lambda p: derivatives(p, "diff", 1)),
    (SpatialGradient, {"order": 2}, lambda p: length(derivatives(p, "sobel", 2))),
    (SpatialGradient, {"order": 2, "magnitude": False}, lambda p: derivatives(p, "sobel", 2)),
    (SpatialGradient, {"order": 2, "mode": "diff"}, lambda p: length(derivatives(p, "diff", 2))),
    (Laplacian, {}, lambda p: [numpy_images.laplacian(p)]),
    (Laplacian, {"kernel_size": 7}, lambda p: [numpy_images.laplacian(p, 7)]),
    (Canny, {}, lambda p: [numpy_images.canny(p)]),
    (Canny, {"low_threshold": 0.4, "high_threshold": 1.2}, lambda p: [numpy_images.canny(p, 0.4, 1.2)]),
]
every_operator = pytest.mark.parametrize(("kind", "options", "expected"), CASES)
grey_and_colour = pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])


@grey_and_colour
@every_operator
def test_agrees_with_scipy(
    kind: type[ImageGradient], options: dict[str, Any], expected: Callable[[Array], list[Array]], grey: bool
) -> None:
    images = smooth_images(2, 30, seed=4, knots=9, dtype=torch.float64)
    found = kind(grey=grey, **options)(images)
    for image, maps in zip(images, found, strict=True):
        wanted = np.stack([part for plane in numpy_images.planes(image, grey) for part in expected(plane)])
        np.testing.assert_allclose(maps.numpy(), wanted, atol=1e-12)
        assert np.ptp(wanted) > 0.02


@grey_and_colour
@every_operator
def test_its_derivative_is_that_of_finite_differences(
    kind: type[ImageGradient], options: dict[str, Any], expected: object, grey: bool
) -> None:
    image = smooth_images(1, 9, seed=6, knots=5, dtype=torch.float64).requires_grad_()
    gradient = kind(grey=grey, **options)
    assert torch.autograd.gradcheck(gradient, image, fast_mode=True)
    flat = torch.full((1, 3, 16, 16), 0.3, requires_grad=True)
    (slopes,) = torch.autograd.grad(gradient(flat).sum(), flat)
    assert slopes.isfinite().all(), "also on flat colour"


def test_canny_is_zero_off_the_edges_and_so_is_its_gradient() -> None:
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 0.8
    step.requires_grad_()
    edges = Canny()(step)[0, 0]
    assert (edges > 0).sum(dim=1)[4:-4].eq(1).all()
    assert edges[:, 14:18].sum() == edges.sum()
    (slopes,) = torch.autograd.grad(edges.sum(), step)
    assert slopes[..., 10:22].abs().max() > 0
    # A blur and a slope see 3 pixels either way.
    assert slopes[..., :10].abs().max() == slopes[..., 22:].abs().max() == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 8, 8\)"):
        Sobel()(torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match="order is 3; expected 1 or 2"):
        SpatialGradient(order=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kernel_size is 4; expected an odd number"):
        Laplacian(kernel_size=4)
    with pytest.raises(ValueError, match=r"thresholds are 0.3 and 0.2; expected 0 < low ≤ high"):
        Canny(low_threshold=0.3)
