"""Large depthwise convolutions that learn faster: values and gradients stay torch's own."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from lightning_modules.backbones.convolutions import quicken_convolutions


@pytest.fixture(autouse=True)
def with_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with AVX-512, where gradients are computed so; whichever this one is."""
    monkeypatch.setattr("lightning_modules.backbones.convolutions.has_avx512", lambda: True)


def compare(plain: nn.Module, images: Tensor) -> None:
    quick = copy.deepcopy(plain)
    quicken_convolutions(quick)
    assert type(quick) is not type(plain)
    generator = torch.Generator().manual_seed(1)
    found = []
    for network in (plain, quick):
        images = images.detach().requires_grad_()
        values = network(images)
        generator.manual_seed(1)
        towards = torch.randn(values.shape, generator=generator, dtype=values.dtype)
        found.append((values, *torch.autograd.grad(values, (images, *network.parameters()), towards)))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("kernel", [(5, 5), (7, 7), (5, 9), (4, 6)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
def test_gradients_of_large_kernels(kernel: tuple[int, int], stride: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    padding = (kernel[0] // 2, kernel[1] // 2 - 1)
    plain = nn.Conv2d(3, 3, kernel, stride, padding, groups=3, dtype=torch.float64)
    compare(plain, torch.randn(2, 3, 11, 12, dtype=torch.float64))


@pytest.mark.parametrize("size", [(12, 12), (13, 13), (12, 13)])
@pytest.mark.parametrize("kernel", [5, (4, 7)])
@pytest.mark.parametrize("stride", [1, 2, (1, 2)])
def test_gradients_with_the_unequal_padding_of_tensorflow(
    size: tuple[int, int], kernel: int | tuple[int, int], stride: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    plain = timm.layers.Conv2dSame(4, 4, kernel, stride, groups=4, bias=False).double()
    images = torch.randn(2, 4, *size, dtype=torch.float64).to(memory_format=torch.channels_last)
    compare(plain, images)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        timm.layers.Conv2dSame(4, 4, 3, 2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 8, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, dilation=2, groups=4),
        nn.Conv2d(4, 4, 5, padding="same", groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"),
    ],
    ids=["small", "small, as in TensorFlow", "full", "wider", "dilated", "by name", "reflected"],
)
def test_others_stay_as_they_are(other: nn.Conv2d) -> None:
    kind = type(other)
    quicken_convolutions(other)
    assert type(other) is kind


def test_without_a_gradient_and_in_bfloat16_torchs_own_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("not meant for this")

    convolution = nn.Conv2d(2, 2, 5, padding=2, groups=2)
    quicken_convolutions(convolution)
    monkeypatch.setattr("lightning_modules.backbones.convolutions._Depthwise.apply", refuse)
    images = torch.rand(1, 2, 8, 8)
    with torch.no_grad():
        convolution(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(images).dtype == torch.bfloat16
    with pytest.raises(AssertionError, match="not meant"):
        convolution(images)


def test_without_avx512_torchs_own_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.backbones.convolutions.has_avx512", lambda: False)
    convolution = nn.Conv2d(2, 2, 5, padding=2, groups=2)
    quicken_convolutions(convolution)
    found = convolution(torch.rand(1, 2, 8, 8))
    assert "Depthwise" not in type(found.grad_fn).__name__
