"""What every image loss must do, and its derivative, by images and through the warp, against finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.warping import (
    Canny,
    GradientMSE,
    GradientNCC,
    ImageGradient,
    ImageLoss,
    Laplacian,
    MultiScale,
    Perceptual,
    PixelMSE,
    PolyharmonicSpline,
    Sobel,
    SpatialGradient,
)
from tests.lightning_modules.warping.layouts import random_faces
from tests.lightning_modules.warping.test_losses import SIZE, face_mask, name, pair

OPERATORS: list[ImageGradient] = [Sobel(grey=False), SpatialGradient(order=2), Laplacian(), Canny()]
LOSSES: list[ImageLoss] = [
    *(kind(operator) for operator in OPERATORS for kind in (GradientMSE, GradientNCC)),
    PixelMSE(),
    MultiScale(),
    MultiScale(GradientNCC(blur_sigma=1.5), weights=[1, 2, 4]),
]
TINY: dict[str, Any] = {"network": "test_efficientnet", "pretrained": False, "layers": [0, 1]}
every_loss = pytest.mark.parametrize(
    "loss",
    [*LOSSES, Perceptual(**TINY), Perceptual(**TINY, normalise=False), MultiScale(Perceptual(**TINY), levels=2)],
    ids=name,
)


@every_loss
def test_the_derivative_is_that_of_finite_differences(loss: ImageLoss) -> None:
    warped, stylised = (image[:1, ..., 3:21, 3:21].clone().requires_grad_() for image in pair(torch.float64))
    mask = face_mask()[:1, ..., 3:21, 3:21]
    assert loss(warped, stylised, mask).item() > 1e-5
    assert torch.autograd.gradcheck(loss, (warped, stylised, mask), fast_mode=True)


@every_loss
def test_the_derivative_through_the_warp_is_that_of_finite_differences(loss: ImageLoss) -> None:
    photo, stylised = (image[:1] for image in pair(torch.float64))
    predicted, labels = (random_faces(1, seed=seed)[:, ::9].clone().requires_grad_() for seed in (3, 4))

    def compare(predicted: Tensor, labels: Tensor) -> Tensor:
        warped = PolyharmonicSpline.fit(predicted, labels).warp(photo, coarse=7)
        value: Tensor = loss(warped, stylised, face_mask()[:1])
        return value

    (slope,) = torch.autograd.grad(compare(predicted, labels).sum(), predicted)
    assert slope.abs().max() > 1e-6
    assert torch.autograd.gradcheck(compare, (predicted, labels), eps=1e-8, atol=1e-4, rtol=1e-3, fast_mode=True)


@every_loss
def test_every_loss_is_per_face_zero_on_equals_and_pulls(loss: ImageLoss) -> None:
    warped, stylised = pair()
    warped.requires_grad_()
    values = loss(warped, stylised)
    assert values.shape == (2,)
    assert (values > 1e-6).all()
    (slope,) = torch.autograd.grad(values[0], warped)
    assert slope.isfinite().all()
    assert slope[0].abs().max() > 0
    assert slope[1].abs().max() == 0
    assert loss(stylised, stylised).abs().max() < 1e-3


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_masked_pixels_do_not_count(loss: ImageLoss) -> None:
    warped, stylised = pair()
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[..., :8] = 1
    changed = warped.clone()
    changed[..., 20:] = 0.5  # further from the mask than any kernel but the blur's at the coarsest level reaches
    before, after = loss(warped, stylised, mask), loss(changed, stylised, mask)
    tolerance = 0.06 if isinstance(loss, MultiScale) and isinstance(loss.loss, GradientNCC) else 1e-6
    torch.testing.assert_close(before, after, rtol=0, atol=tolerance)
    empty = loss(warped.requires_grad_(), stylised, torch.zeros_like(mask))
    (slope,) = torch.autograd.grad(empty.sum(), warped)
    assert empty.isfinite().all()
    assert (slope == 0).all()
