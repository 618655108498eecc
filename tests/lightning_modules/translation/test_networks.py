"""Generators and discriminators: the papers' sizes, what a patch sees, and what they refuse."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_modules.translation import Generator, PatchDiscriminator, ResNetGenerator, Translator, UNetGenerator


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolution(side: int, ins: int, outs: int) -> int:
    """Weights and biases."""
    return side * side * ins * outs + outs


def test_the_papers_residual_generator() -> None:
    """c7s1-64, d128, d256, 9 × R256, u128, u64, c7s1-3."""
    ends = convolution(7, 3, 64) + convolution(7, 64, 3)
    halving = convolution(3, 64, 128) + convolution(3, 128, 256)
    doubling = convolution(3, 256, 128) + convolution(3, 128, 64)
    expected = ends + halving + 9 * 2 * convolution(3, 256, 256) + doubling
    assert parameters(ResNetGenerator()) == expected == 11_378_179


def test_the_papers_discriminator() -> None:
    """C64-C128-C256-C512 and a map."""
    widths = [3, 64, 128, 256, 512, 1]
    expected = sum(convolution(4, *pair) for pair in pairwise(widths))
    assert parameters(PatchDiscriminator()) == expected == 2_764_737


@pytest.mark.parametrize(("size", "widths"), [(256, [64, 128, 256] + [512] * 5), (128, [64, 128, 256] + [512] * 4)])
def test_pix2pix_u_net(size: int, widths: list[int]) -> None:
    """Down to one pixel; going up, all levels but the deepest also get what went down."""
    down = sum(convolution(4, *pair) for pair in zip([3, *widths], widths, strict=False))
    up = sum(
        convolution(4, wide if level == len(widths) - 1 else 2 * wide, [3, *widths][level])
        for level, wide in enumerate(widths)
    )
    network = UNetGenerator(size)
    assert parameters(network) == down + up
    assert len(network.downs) == len(network.ups) == len(widths)


LIGHT = [ResNetGenerator(4, 1), UNetGenerator(32, 4)]


@pytest.mark.parametrize("generator", LIGHT, ids=["resnet", "unet"])
def test_a_generator_keeps_shape_and_range(generator: Generator) -> None:
    images = torch.rand(2, 3, 32, 32)
    for parameter in generator.parameters():
        parameter.data *= 3
    painted = generator(images)
    assert painted.shape == images.shape
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert painted.std() > 0.01
    assert torch.allclose(painted, (torch.tanh(generator.paint(2 * images - 1)) + 1) / 2)
    painted.square().sum().backward()
    # Biases before instance normalisation have no effect.
    weights = [p.grad for name, p in generator.named_parameters() if name.endswith("weight")]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in weights)


@pytest.mark.parametrize(("halvings", "patch"), [(3, 70), (2, 34), (1, 16)])
def test_how_far_a_patch_sees(halvings: int, patch: int) -> None:
    """By gradient; without instance normalisation, which sees the whole image."""
    discriminator = PatchDiscriminator(2, halvings).double()
    for place, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            discriminator.layers[place] = nn.Identity()
    images = torch.rand(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    judged = discriminator(images)
    assert judged.shape == (1, 1, *[{3: 14, 2: 30, 1: 62}[halvings]] * 2)
    judged[0, 0, judged.shape[-2] // 2, judged.shape[-1] // 2].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (patch, patch)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PatchDiscriminator()(torch.rand(1, 3, 16, 16)), "expected at least 24"),
        (lambda: ResNetGenerator(2, 1)(torch.rand(1, 3, 30, 30)), "multiples of 4"),
        (lambda: UNetGenerator(36), "expected a multiple of 8"),
        (lambda: UNetGenerator(32, 2)(torch.rand(1, 3, 64, 64)), "made for 32"),
    ],
)
def test_sizes_that_do_not_fit(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_where_weights_start() -> None:
    translator = Translator(ResNetGenerator(32, 2), PatchDiscriminator(32))
    for network in (*translator.generators.values(), *translator.discriminators.values()):
        weights = torch.cat([p.flatten() for name, p in network.named_parameters() if name.endswith("weight")]).detach()
        assert weights.mean().abs() < 4 * 0.02 / len(weights) ** 0.5
        assert weights.std() == pytest.approx(0.02, rel=0.01)
        assert all(not p.any() for name, p in network.named_parameters() if name.endswith("bias"))
    pairs = zip(*(network.parameters() for network in translator.generators.values()), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs if a.any()), "the two directions start apart"
