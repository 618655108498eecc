"""Sampling at any coordinates: torch's own values where they are numbers, and no coordinate ends the process."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.landmarkers.patches import patch_boxes, sample_patches, sample_windows
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.sampling import Padding, sample
from lightning_modules.warping import PolyharmonicSpline
from lightning_modules.warping.fields.dense import DenseField

SIDE = 8
NAN, INF = float("nan"), float("inf")


def gradients(function: Callable[[Tensor, Tensor], Tensor], images: Tensor, places: Tensor) -> list[Tensor]:
    """The result, and the gradients of its finite values' sum."""
    images, places = images.clone().requires_grad_(), places.clone().requires_grad_()
    result = function(images, places)
    result.nansum().backward()
    assert images.grad is not None
    assert places.grad is not None
    return [result.detach(), images.grad, places.grad]


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("align", [True, False])
def test_numbers_are_sampled_as_torch_does(padding: Padding, align: bool) -> None:
    """To the bit, forward and backward; also beside places that are no numbers."""
    images, places = torch.rand(2, 3, SIDE, SIDE), 3 * torch.rand(2, 5, 5, 2) - 1.5
    theirs = gradients(lambda a, b: F.grid_sample(a, b, "bilinear", padding, align), images, places)
    ours = gradients(lambda a, b: sample(a, b, padding, align_corners=align), images, places)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    places[1, 2, 3, 0] = NAN
    beside = gradients(lambda a, b: sample(a, b, padding, align_corners=align), images, places)
    assert beside[0][1, :, 2, 3].isnan().all()
    assert beside[0].isnan().sum() == 3
    assert torch.equal(beside[0][0], theirs[0][0])
    assert torch.equal(beside[2][0], theirs[2][0])
    assert beside[2][1, 2, 3].tolist() == [0.0, 0.0]
    assert all(gradient.isfinite().all() for gradient in beside[1:])


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e10, 1e38, -1e38])
def test_every_field_takes_any_landmark(value: float) -> None:
    face = torch.tensor(MEAN_FACE)[None]
    wild = face.clone()
    wild[0, 5, 0] = value
    photo = torch.rand(1, 3, SIDE, SIDE)

    def warped(predicted: Tensor, photo: Tensor) -> Tensor:
        return PolyharmonicSpline.fit(predicted, face).warp(photo)

    gradients(lambda a, b: warped(b, a), photo, wild)
    displacement = torch.full((1, 2, 4, 4), value)
    result = gradients(lambda a, b: DenseField(b, SIDE).warp(a), photo, displacement)[0]
    assert bool(result.isnan().all()) == (value != value)
    gradients(lambda a, b: DenseField(a, SIDE).evaluate(b), displacement, wild)


@pytest.mark.parametrize("value", [NAN, INF, 1e38])
def test_patches_and_windows_around_any_landmark(value: float) -> None:
    features, centres = torch.rand(1, 4, SIDE, SIDE), torch.rand(1, 3, 2)
    centres[0, 1] = value
    features.requires_grad_()
    patches = sample_patches(features, *patch_boxes(centres, 0.3), 3)
    assert patches[0, [0, 2]].isfinite().all()
    patches.sum().backward()
    features = features.detach()
    windows = gradients(lambda a, b: sample_windows(a, b, 0.1, 3), features, centres)[0]
    assert windows[0, [0, 2]].isfinite().all()
