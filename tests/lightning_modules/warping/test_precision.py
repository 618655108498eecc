"""Every operation on every device and in every precision, value and gradient, beside float64 on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass, fields

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
    LearnedField,
    MultiScale,
    Perceptual,
    PixelMSE,
    PolyharmonicSpline,
    Sobel,
    SpatialGradient,
    WarperObjective,
    face_region_mask,
    landmark_warping_error,
    spread_gradient,
    yaw,
)
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 32
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@dataclass
class Pairs:
    """Two pairs of faces, whatever their device and type."""

    photo: Tensor
    labels: Tensor
    stylised: Tensor
    predicted: Tensor

    def to(self, device: str, dtype: torch.dtype) -> "Pairs":
        moved = (getattr(self, field.name).detach().to(device, dtype) for field in fields(self))
        return Pairs(*(tensor.requires_grad_() for tensor in moved))


def pairs(device: str = "cpu", dtype: torch.dtype = torch.float64) -> Pairs:
    images = [smooth_images(2, SIZE, seed, knots=9, dtype=torch.float64) for seed in (1, 2)]
    return Pairs(images[0], random_faces(2, seed=3), images[1], random_faces(2, seed=4)).to(device, dtype)


def spline(order: int = 2, smoothing: float = 0.0, anchors: int = 0) -> Callable[[Pairs], PolyharmonicSpline]:
    return lambda p: PolyharmonicSpline.fit(p.predicted, p.labels, order, smoothing, anchors)


def of_loss(loss: ImageLoss) -> Callable[[Pairs], Tensor]:
    return lambda p: loss.to(p.photo.device)(p.photo, p.stylised)


def of_gradient(gradient: ImageGradient) -> Callable[[Pairs], Tensor]:
    return lambda p: gradient(p.photo)


def learned(p: Pairs) -> Tensor:
    torch.manual_seed(0)
    field = LearnedField(hidden=8)
    torch.nn.init.normal_(field.network[-1].weight, std=0.1)
    offsets: Tensor = field.to(p.labels.device)(p.labels, p.predicted)
    return offsets


def objective(p: Pairs) -> Tensor:
    warper = WarperObjective(coarse=9, face_only=True, face_softness=0.02, smoothing=0.01, gradient_reach=0.1)
    terms = warper(p.photo, p.labels, p.stylised, p.predicted)
    return torch.stack([terms.image, terms.landmarks])


PERCEPTUAL = Perceptual("test_efficientnet", [0, 2], pretrained=False)
OPERATIONS: dict[str, Callable[[Pairs], Tensor]] = {
    **{f"grid, order {k}": (lambda p, k=k: spline(k)(p).grid(SIZE, 9)) for k in (1, 2, 3, 4)},  # type: ignore[misc]
    "grid at every pixel": lambda p: spline(anchors=2)(p).grid(SIZE, None),
    "points": lambda p: spline(smoothing=0.01)(p).evaluate(p.labels),
    "warp": lambda p: spline()(p).warp(p.photo, 9),
    "landmark-warping error": lambda p: landmark_warping_error(spline(smoothing=0.01)(p), p.predicted, p.labels),
    "offsets": learned,
    "mask": lambda p: face_region_mask(p.predicted, SIZE, softness=0.02),
    "yaw": lambda p: yaw(p.predicted),
    "spread gradient": lambda p: spread_gradient(p.predicted, 0.1),
    "Sobel": of_gradient(Sobel()),
    "first derivatives": of_gradient(SpatialGradient(mode="diff", magnitude=False)),
    "second derivatives": of_gradient(SpatialGradient(grey=False, order=2)),
    "Laplacian": of_gradient(Laplacian(kernel_size=5)),
    "Canny": of_gradient(Canny()),
    "pixels": of_loss(PixelMSE()),
    "gradients": of_loss(GradientMSE()),
    "correlation": of_loss(GradientNCC(blur_sigma=1.0)),
    "pyramid": of_loss(MultiScale()),
    "features": of_loss(PERCEPTUAL),
    "objective": objective,
}


def value_and_gradients(operation: Callable[[Pairs], Tensor], p: Pairs) -> list[Tensor]:
    """The operation's value, and the gradient of its sum of squares to all of its inputs that have one."""
    value = operation(p)
    if not value.requires_grad:
        return [value]
    inputs = [getattr(p, field.name) for field in fields(p)]
    gradients = torch.autograd.grad(value.float().square().sum(), inputs, allow_unused=True)
    return [value.detach(), *(gradient for gradient in gradients if gradient is not None)]


every_operation = pytest.mark.parametrize("name", OPERATIONS)
every_device = pytest.mark.parametrize("device", DEVICES)


@every_device
@every_operation
def test_float32_is_close_to_float64(name: str, device: str) -> None:
    expected = value_and_gradients(OPERATIONS[name], pairs())
    found = value_and_gradients(OPERATIONS[name], pairs(device, torch.float32))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        # Bilinear sampling has kinks, and Canny steps, on whose other side a pixel may fall: the mean is compared.
        scale = b.double().abs().mean() + 1e-12
        assert (a.cpu().double() - b.double()).abs().mean() < 2e-3 * scale


@every_device
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@every_operation
def test_autocast_does_not_lower_the_precision(name: str, device: str, half: torch.dtype) -> None:
    plain = value_and_gradients(OPERATIONS[name], pairs(device, torch.float32))
    with torch.autocast(device, dtype=half):
        mixed = value_and_gradients(OPERATIONS[name], pairs(device, torch.float32))
    # The backward pass through a network's linear layers is rounded, where it runs within autocast, as everywhere.
    compared = 1 if name == "offsets" else len(plain)
    for a, b in zip(mixed[:compared], plain, strict=False):
        # On a GPU, sums of a backward pass come in any order.
        torch.testing.assert_close(a, b, rtol=0, atol=0 if device == "cpu" else 1e-5 * float(b.abs().max()))


@every_device
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@every_operation
def test_half_precision_is_computed_in_float32(name: str, device: str, half: torch.dtype) -> None:
    rounded = pairs(device, half)
    found = value_and_gradients(OPERATIONS[name], rounded)
    expected = value_and_gradients(OPERATIONS[name], rounded.to(device, torch.float32))
    # The objective's warped photos have the photos' type.
    tolerance = 5e-3 if name == "objective" else 1e-6
    torch.testing.assert_close(found[0].float(), expected[0].to(found[0].dtype).float(), rtol=tolerance, atol=1e-6)
    assert all(tensor.isfinite().all() for tensor in found)
