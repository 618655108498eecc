"""Each image loss against numpy and scipy, whole and restricted to the face."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from scipy import ndimage
from torch import Tensor

from lightning_modules.warping import (
    Canny,
    GradientMSE,
    GradientNCC,
    ImageLoss,
    Laplacian,
    MultiScale,
    NoImageLoss,
    PixelMSE,
    Sobel,
    SpatialGradient,
    face_region_mask,
)
from tests.lightning_modules.warping import numpy_images
from tests.lightning_modules.warping.layouts import random_faces, smooth_images
from tests.lightning_modules.warping.numpy_images import Array

SIZE = 24


def name(loss: ImageLoss) -> str:
    inner = getattr(loss, "loss", None) or getattr(loss, "gradient", None)
    return f"{type(loss).__name__}-{type(inner).__name__}" if inner is not None else type(loss).__name__


def pair(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return smooth_images(2, SIZE, seed=1, knots=9, dtype=dtype), smooth_images(2, SIZE, seed=2, knots=9, dtype=dtype)


def face_mask() -> Tensor:
    return face_region_mask(random_faces(2, seed=5), SIZE, softness=0.03)


def squares(a: list[Array], b: list[Array]) -> Array:
    return np.mean([(x - y) ** 2 for x, y in zip(a, b, strict=True)], axis=0)


def pixel_mse(a: list[Array], b: list[Array], mask: Array) -> float:
    return numpy_images.mean(squares(a, b), mask)


def gradient_mse(operator: Callable[[Array], Array]) -> Callable[..., float]:
    return lambda a, b, mask: pixel_mse([operator(x) for x in a], [operator(x) for x in b], mask)


def gradient_ncc(operator: Callable[[Array], Array], sigma: float = 0.0) -> Callable[..., float]:
    def blurred(plane: Array) -> Array:
        found = operator(plane)
        return ndimage.gaussian_filter(found, sigma, mode="nearest", radius=int(3 * sigma + 0.5)) if sigma else found

    def loss(a: list[Array], b: list[Array], mask: Array) -> float:
        x, y = (np.stack([blurred(plane) for plane in planes]) for planes in (a, b))
        weights = np.broadcast_to(mask, x.shape).ravel()
        covariance = np.cov(x.ravel(), y.ravel(), aweights=weights)
        return float(1 - covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))

    return loss


def multi_scale(loss: Callable[..., float], weights: list[float]) -> Callable[..., float]:
    def whole(a: list[Array], b: list[Array], mask: Array) -> float:
        total = 0.0
        for weight in weights:
            total += weight * loss(a, b, mask)
            a, b, mask = (
                [numpy_images.halve(x) for x in a],
                [numpy_images.halve(x) for x in b],
                numpy_images.halve(mask),
            )
        return total / sum(weights)

    return whole


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "face"])
@pytest.mark.parametrize(
    ("loss", "grey", "expected"),
    [
        (PixelMSE(), False, pixel_mse),
        (GradientMSE(), True, gradient_mse(numpy_images.sobel)),
        (GradientMSE(Sobel(grey=False)), False, gradient_mse(numpy_images.sobel)),
        (GradientMSE(Laplacian()), True, gradient_mse(numpy_images.laplacian)),
        (GradientMSE(Laplacian(grey=False)), False, gradient_mse(numpy_images.laplacian)),
        (GradientMSE(Canny()), True, gradient_mse(numpy_images.canny)),
        (GradientMSE(Canny(grey=False)), False, gradient_mse(numpy_images.canny)),
        (GradientNCC(), True, gradient_ncc(numpy_images.sobel)),
        (GradientNCC(Laplacian(grey=False)), False, gradient_ncc(numpy_images.laplacian)),
        (GradientNCC(blur_sigma=1.5), True, gradient_ncc(numpy_images.sobel, 1.5)),
        (MultiScale(PixelMSE(), levels=1), False, pixel_mse),
        (MultiScale(PixelMSE()), False, multi_scale(pixel_mse, [1, 1, 1])),
        (MultiScale(levels=2, weights=[3, 1]), True, multi_scale(gradient_mse(numpy_images.sobel), [3, 1])),
        (
            MultiScale(GradientNCC(blur_sigma=1.0), weights=[0, 1, 2]),
            True,
            multi_scale(gradient_ncc(numpy_images.sobel, 1.0), [0, 1, 2]),
        ),
    ],
    ids=lambda value: name(value) if isinstance(value, ImageLoss) else "",
)
def test_agrees_with_numpy(loss: ImageLoss, grey: bool, expected: Callable[..., float], masked: bool) -> None:
    warped, stylised = pair(torch.float64)
    if isinstance(loss, MultiScale):  # an odd side, whose last row and column have no partner
        warped, stylised = warped[..., :-1, :-1], stylised[..., :-1, :-1]
    mask = face_mask()[..., : warped.shape[-1], : warped.shape[-1]] if masked else None
    found = loss(warped, stylised, mask)
    for i in range(2):
        weights = np.ones(warped.shape[-2:]) if mask is None else mask[i, 0].numpy()
        wanted = expected(numpy_images.planes(warped[i], grey), numpy_images.planes(stylised[i], grey), weights)
        # The correlation's own guard against flat images, 1e-8, is seen beside a variance of 1e-3 to 1e-5.
        assert found[i].item() == pytest.approx(wanted, rel=1e-9, abs=3e-4 if "NCC" in name(loss) else 0)


def test_gradient_ncc_ignores_contrast_and_brightness() -> None:
    warped, stylised = pair(torch.float64)
    same = GradientNCC(SpatialGradient(magnitude=False))
    assert same(stylised * 0.4 + 0.3, stylised).abs().max() < 1e-4
    assert GradientNCC()(stylised * 0.4 + 0.3, stylised).abs().max() < 5e-3
    torch.testing.assert_close(same(warped * 0.5 + 0.2, stylised), same(warped, stylised), rtol=0, atol=1e-4)
    assert same(1 - stylised, stylised).min() > 1.99


def test_a_pyramid_sees_edges_that_do_not_overlap() -> None:
    """A step 8 or 16 pixels from another: one level does not care where it is, coarse ones do."""

    def step(column: int) -> Tensor:
        image = torch.zeros(1, 3, 96, 96)
        image[..., column:] = 1
        return image

    def share_of_distance(loss: ImageLoss) -> float:
        near, far = loss(step(40), step(48)), loss(step(40), step(56))
        return float((far - near) / far)

    assert abs(share_of_distance(GradientMSE())) < 1e-4
    assert share_of_distance(MultiScale(levels=4)) > 0.1


def test_no_image_loss_is_zero_and_on_the_graph() -> None:
    warped, stylised = pair()
    value = NoImageLoss()(warped.requires_grad_(), stylised)
    assert value.tolist() == [0.0, 0.0]
    value.sum().backward()
    assert warped.grad is not None
    assert (warped.grad == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels is 0"),
        ({"weights": [1.0, 2.0]}, "expected 3"),
        ({"weights": [1.0, -1.0, 1.0]}, "none negative"),
        ({"weights": [0.0, 0.0, 0.0]}, "one above 0"),
    ],
)
def test_levels_and_weights_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiScale(**options)


def test_images_that_do_not_go_together_are_refused() -> None:
    image = torch.rand(2, 3, 15, 15)
    with pytest.raises(ValueError, match=r"\(2, 3, 15, 15\) but stylised \(2, 3, 9, 9\)"):
        PixelMSE()(image, torch.rand(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"expected \(2, 1, 15, 15\)"):
        PixelMSE()(image, image, torch.ones(1, 1, 15, 15))
    with pytest.raises(ValueError, match="too small for 3 levels; expected at least 16"):
        MultiScale()(image, image)
    with pytest.raises(ValueError, match="blur_sigma is -1"):
        GradientNCC(blur_sigma=-1)


def test_yaml_chooses_a_loss_by_class_path() -> None:
    room = "lightning_modules.warping"
    inner = {"class_path": f"{room}.GradientMSE", "init_args": {"gradient": {"class_path": f"{room}.Laplacian"}}}
    chosen = {"class_path": f"{room}.MultiScale", "init_args": {"loss": inner, "weights": [1, 2, 3]}}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageLoss, "loss")
    loss = parser.instantiate(parser.parse_object({"loss": chosen})).loss
    assert isinstance(loss.loss.gradient, Laplacian)
    assert loss.weights == pytest.approx([1 / 6, 2 / 6, 3 / 6])
