"""What landmarkers on a backbone share, on a backbone that hands its input on."""

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.backbones.base import Backbone, Normalization
from lightning_modules.landmarkers.backbone_landmarker import NORMALIZATION, BackboneLandmarker
from lightning_modules.landmarkers.base import LandmarkerOutput
from lightning_modules.weights import load_matching


class Through(Backbone):
    """The normalised images themselves, and a note of their memory format."""

    mean = (0.5, 0.25, 0.0)
    std = (0.5, 0.25, 2.0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.last = False

    def forward(self, images: Tensor) -> Tensor:
        self.last = images.is_contiguous(memory_format=torch.channels_last)
        return images


class Means(BackboneLandmarker):
    """All landmarks at each image's means of normalised red and green."""

    def from_features(self, features: Tensor) -> LandmarkerOutput:
        return LandmarkerOutput(features.mean((-1, -2))[:, None, None, :2].expand(-1, 1, 68, -1), features=features)

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return (output.landmarks - target).square().mean()


def test_images_are_normalised_channel_by_channel() -> None:
    images = torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    landmarker = Means(8, 4, Through())
    output = landmarker(images)
    wanted = torch.tensor([1.0, 1.0, 0.25]).view(3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(output.features, wanted)
    torch.testing.assert_close(landmarker.features(images), wanted)
    torch.testing.assert_close(output.landmarks, torch.ones(2, 68, 2))


def test_normalisation_goes_with_the_weights() -> None:
    """Also into a landmarker within another module, as a checkpoint of a method is loaded."""
    halves = Means(8, 4, Through(), normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(halves.features(images), images * 2 - 1)
    other = Means(8, 4, Through())
    assert not torch.equal(other.features(images), halves.features(images))
    nn.ModuleList([other]).load_state_dict(nn.ModuleList([halves]).state_dict())
    torch.testing.assert_close(other.features(images), images * 2 - 1)


def test_weights_without_a_normalisation_leave_it_as_it_is() -> None:
    halves = Means(8, 4, Through(), normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    earlier = {name: value for name, value in Means(8, 4, Through()).state_dict().items() if name not in NORMALIZATION}
    assert load_matching(halves, earlier) == ([], [])
    assert NORMALIZATION.isdisjoint(earlier)
    torch.testing.assert_close(halves.features(torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5, 0.0)])
def test_a_normalisation_that_is_none_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three numbers each, std above 0"):
        Normalization((0.5, 0.5, 0.5), values)


@pytest.mark.parametrize("last", [False, True])
def test_the_memory_format_is_the_backbones(last: bool) -> None:
    backbone = Through()
    Means(8, 4, backbone, channels_last=last)(torch.rand(2, 3, 8, 8))
    assert backbone.last == last
    assert backbone.conv.weight.is_contiguous(memory_format=torch.channels_last) == last
