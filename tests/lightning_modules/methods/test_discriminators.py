"""Discriminators: sizes by arithmetic, gradients to the landmarks, and that they learn to tell."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lightning_modules.methods.discriminators import DomainClassifier, LandmarkDiscriminator, judgement_loss
from tests.lightning_modules.methods.small import shapes


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_domain_classifier_has_the_papers_layers() -> None:
    """Fully connected 1024-1024-1."""
    classifier = DomainClassifier(270)
    assert size(classifier) == 270 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 + 1
    assert [layer.p for layer in classifier.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    features = torch.randn(5, 270, 4, 6)
    assert classifier(features).shape == (5,)
    classifier.eval()
    pooled = features.mean((2, 3), keepdim=True).expand_as(features)
    torch.testing.assert_close(classifier(features), classifier(pooled))


def test_the_landmark_discriminator_has_the_papers_layers() -> None:
    discriminator = LandmarkDiscriminator()
    widths = [68, 64, 128, 256, 512, 1]
    assert size(discriminator) == sum(16 * a * b + b for a, b in pairwise(widths)) == 2_831_297
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == widths[1:]
    assert all(layer.kernel_size == (4, 4) and layer.stride == (2, 2) for layer in convolutions)
    assert [layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)] == [0.2] * 4
    assert discriminator(shapes(3).float()).shape == (3, 1, 2, 2)
    light = LandmarkDiscriminator(map_size=32, width=8)
    assert light(shapes(3).float()).shape == (3, 1, 1, 1)
    assert size(light) == 16 * (68 * 8 + 8 * 16 + 16 * 32 + 32 * 64 + 64) + 8 + 16 + 32 + 64 + 1


def test_maps_are_gaussians_around_the_landmarks() -> None:
    landmarks = shapes(2)
    maps = LandmarkDiscriminator(map_size=64, sigma=1.5).maps(landmarks)
    cells = np.arange(64)
    for face, point in ((0, 3), (1, 40)):
        x, y = 64 * landmarks[face, point].numpy()
        square = (cells[None] - x) ** 2 + (cells[:, None] - y) ** 2
        np.testing.assert_allclose(maps[face, point].numpy(), np.exp(-square / (2 * 1.5**2)), atol=1e-12)


def test_the_gradient_reaches_the_landmarks() -> None:
    discriminator = LandmarkDiscriminator(map_size=32, sigma=1.0, width=4).double()
    landmarks = shapes(1).requires_grad_()
    half = landmarks.detach().bfloat16()  # is drawn in single precision
    assert torch.equal(discriminator.float().maps(half), discriminator.maps(half.float()))
    discriminator.double()
    assert torch.autograd.gradcheck(discriminator, landmarks)
    (gradient,) = torch.autograd.grad(discriminator(landmarks).sum(), landmarks)
    assert (gradient.abs() > 0).all()


@pytest.mark.parametrize("photo", [True, False])
def test_the_judgement_loss_is_the_cross_entropy(photo: bool) -> None:
    logits = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    share = 1 / (1 + np.exp(-logits.numpy()))
    expected = -np.log(share if photo else 1 - share).mean()
    assert float(judgement_loss(logits, photo)) == pytest.approx(expected, rel=1e-6)
