"""Gradients of the field and of the warped image, first and second, against finite differences in float64."""

import pytest
import torch
from torch import Tensor

from lightning_modules.warping import PolyharmonicSpline, landmark_warping_error
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images

CASES = [(order, smoothing) for order in (1, 2, 3, 4) for smoothing in (0.0, 0.01)]
SPREAD = [0, 8, 16, 19, 24, 30, 36, 45, 57]
"""Nine landmarks all over the face, none close to another."""


def _landmarks(faces: int = 1) -> tuple[Tensor, Tensor]:
    """Predicted landmarks and the photos', which want gradients."""
    source, target = random_faces(faces, seed=9)[:, SPREAD], random_faces(faces, seed=10)[:, SPREAD]
    return source.requires_grad_(), target.requires_grad_()


@pytest.mark.parametrize(("order", "smoothing"), CASES)
def test_the_field_anywhere(order: int, smoothing: float) -> None:
    queries = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()

    def field(source: Tensor, target: Tensor, queries: Tensor) -> Tensor:
        return PolyharmonicSpline.fit(source, target, order, smoothing).evaluate(queries)

    assert torch.autograd.gradcheck(field, (*_landmarks(2), queries))


@pytest.mark.parametrize("anchors", [0, 2])
@pytest.mark.parametrize("coarse", [None, 4])
@pytest.mark.parametrize(("order", "smoothing"), CASES)
def test_the_field_on_a_grid(order: int, smoothing: float, coarse: int | None, anchors: int) -> None:
    def field(source: Tensor, target: Tensor) -> Tensor:
        return PolyharmonicSpline.fit(source, target, order, smoothing, anchors).grid(7, coarse)

    assert torch.autograd.gradcheck(field, _landmarks(2), fast_mode=True)


@pytest.mark.parametrize("anchors", [0, 2])
@pytest.mark.parametrize("coarse", [None, 4])
@pytest.mark.parametrize(("order", "smoothing"), CASES)
def test_the_warped_image(order: int, smoothing: float, coarse: int | None, anchors: int) -> None:
    image = smooth_images(1, 8, seed=5, knots=4, dtype=torch.float64)[:, :1].requires_grad_()
    landmarks = _landmarks()
    # Bilinear sampling has kinks on pixel centres and at the border: pixels whose colour comes from there are left out.
    taken_from = PolyharmonicSpline.fit(*landmarks, order, smoothing, anchors).grid(8, coarse).detach() * 8
    smooth = ((taken_from - taken_from.round()).abs().amin(dim=-1) > 1e-2)[:, None]
    assert smooth.sum() > 32

    def warp(source: Tensor, target: Tensor, image: Tensor) -> Tensor:
        return PolyharmonicSpline.fit(source, target, order, smoothing, anchors).warp(image, coarse)[smooth]

    assert torch.autograd.gradcheck(warp, (*landmarks, image), fast_mode=True)


@pytest.mark.parametrize("coarse", [None, 4])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_field_twice(order: int, coarse: int | None) -> None:
    def field(source: Tensor, target: Tensor) -> Tensor:
        return PolyharmonicSpline.fit(source, target, order, 0.01).grid(6, coarse)[:, 2::3, 2::3]

    assert torch.autograd.gradgradcheck(
        field, tuple(points[:, ::2].detach().requires_grad_() for points in _landmarks())
    )


def test_at_the_landmarks_themselves() -> None:
    source, target = mean_face()[None, ::8].requires_grad_(), random_faces(1, seed=11)[:, ::8].requires_grad_()

    def error(source: Tensor, target: Tensor) -> Tensor:
        return landmark_warping_error(PolyharmonicSpline.fit(source, target, smoothing=0.01), source, target)

    assert torch.autograd.gradcheck(error, (source, target))


def test_only_the_photo_landmarks_want_a_gradient() -> None:
    source, target = _landmarks()
    both = torch.autograd.grad(PolyharmonicSpline.fit(source, target).grid(8).square().sum(), target)[0]
    one = torch.autograd.grad(PolyharmonicSpline.fit(source.detach(), target).grid(8).square().sum(), target)[0]
    torch.testing.assert_close(one, both, rtol=0, atol=1e-12)
