import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import Delaunay
from torch import Tensor

from lightning_modules.warping import (
    Canny,
    GradientMSE,
    GradientNCC,
    ImageGradient,
    ImageLoss,
    Laplacian,
    MultiScale,
    NoImageLoss,
    PixelMSE,
    Sobel,
    SpatialGradient,
    face_region_mask,
    pixel_grid,
)
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images

GRADIENTS = [
    Sobel(),
    Sobel(grey=False),
    SpatialGradient(),
    SpatialGradient(mode="diff", magnitude=False),
    Laplacian(),
    Canny(),
    Canny(grey=False),
]
LOSSES = [*(GradientMSE(g) for g in GRADIENTS), PixelMSE(), GradientNCC(), MultiScale(GradientNCC(blur_sigma=1.5))]


def _pair() -> tuple[Tensor, Tensor]:
    return smooth_images(2, 24, seed=1, knots=9), smooth_images(2, 24, seed=2, knots=9)


def test_sobel_agrees_with_scipy() -> None:
    image = smooth_images(1, 20, knots=9, dtype=torch.float64)
    grey = np.tensordot([0.299, 0.587, 0.114], image[0].numpy(), axes=1)
    expected = np.hypot(*(ndimage.sobel(grey, axis=axis, mode="nearest") / 8 for axis in (0, 1)))
    np.testing.assert_allclose(Sobel(eps=1e-16)(image)[0, 0].numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(SpatialGradient(eps=1e-16)(image)[0, 0].numpy(), expected, atol=1e-7)


def test_a_ramp_has_its_slope_per_pixel_and_no_laplacian() -> None:
    ramp = torch.arange(16.0).expand(1, 3, 16, 16) / 20
    vector = SpatialGradient(grey=False, magnitude=False)(ramp)
    assert vector.shape == (1, 6, 16, 16)
    torch.testing.assert_close(vector[0, ::2, 1:-1, 1:-1], torch.full((3, 14, 14), 0.05))
    assert vector[0, 1::2, 1:-1, 1:-1].abs().max() < 1e-6
    assert Laplacian()(ramp)[..., 1:-1, 1:-1].abs().max() < 1e-6


def test_canny_is_zero_off_the_edges() -> None:
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 0.8
    edges = Canny()(step)[0, 0]
    assert (edges > 0).sum(dim=1)[4:-4].eq(1).all()
    assert edges[:, 14:18].sum() == edges.sum()


@pytest.mark.parametrize("gradient", GRADIENTS, ids=lambda g: type(g).__name__)
def test_flat_colour_has_a_finite_gradient(gradient: ImageGradient) -> None:
    flat = torch.full((1, 3, 16, 16), 0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(gradient(flat).sum(), flat)
    assert slope.isfinite().all()


def test_gradients_refuse_images_of_other_channels() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 8, 8\)"):
        Sobel()(torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda m: type(m).__name__)
def test_every_loss_is_per_face_zero_on_equals_and_pulls(loss: ImageLoss) -> None:
    warped, stylised = _pair()
    warped.requires_grad_()
    values = loss(warped, stylised)
    assert values.shape == (2,)
    assert (values > 1e-6).all()
    (slope,) = torch.autograd.grad(values[0], warped)
    assert slope.isfinite().all()
    assert slope[0].abs().max() > 0
    assert slope[1].abs().max() == 0
    assert loss(stylised, stylised).abs().max() < 1e-3


@pytest.mark.parametrize("loss", LOSSES, ids=lambda m: type(m).__name__)
def test_masked_pixels_do_not_count(loss: ImageLoss) -> None:
    warped, stylised = _pair()
    mask = torch.zeros(2, 1, 24, 24)
    mask[..., :8] = 1
    changed = warped.clone()
    changed[..., 20:] = 0.5  # further from the mask than any kernel but the blur's at the coarsest level reaches
    before, after = loss(warped, stylised, mask), loss(changed, stylised, mask)
    tolerance = 0.05 if isinstance(loss, MultiScale) else 1e-6
    torch.testing.assert_close(before, after, rtol=0, atol=tolerance)
    empty = loss(warped.requires_grad_(), stylised, torch.zeros_like(mask))
    (slope,) = torch.autograd.grad(empty.sum(), warped)
    assert empty.isfinite().all()
    assert (slope == 0).all()


def test_gradient_mse_is_the_mean_of_squares() -> None:
    warped, stylised = _pair()
    expected = (Sobel()(warped) - Sobel()(stylised)).square().numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(GradientMSE()(warped, stylised).numpy(), expected, rtol=1e-5)


def test_gradient_ncc_agrees_with_numpy_and_ignores_contrast() -> None:
    warped, stylised = _pair()
    a, b = (Sobel()(image).flatten(1).numpy() for image in (warped, stylised))
    expected = [1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(GradientNCC()(warped, stylised).numpy(), expected, atol=1e-3)
    assert GradientNCC()(stylised * 0.4 + 0.3, stylised).abs().max() < 5e-3


def test_no_image_loss_is_zero_and_on_the_graph() -> None:
    warped, stylised = _pair()
    value = NoImageLoss()(warped.requires_grad_(), stylised)
    assert value.tolist() == [0.0, 0.0]
    value.sum().backward()
    assert warped.grad is not None
    assert (warped.grad == 0).all()


def test_losses_run_in_float32_under_autocast() -> None:
    warped, stylised = _pair()
    for loss in LOSSES:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = loss(warped, stylised)
        assert mixed.dtype == torch.float32
        assert torch.equal(mixed, loss(warped, stylised))


def test_shapes_that_differ_are_refused() -> None:
    image = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\) but stylised \(2, 3, 9, 9\)"):
        PixelMSE()(image, torch.rand(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"expected \(2, 1, 8, 8\)"):
        PixelMSE()(image, image, torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match="blur_sigma is -1"):
        GradientNCC(blur_sigma=-1)


def test_the_face_region_is_the_convex_hull() -> None:
    faces, size = random_faces(2, seed=3), 96
    mask = face_region_mask(faces.float(), size)
    pixels = pixel_grid(size, dtype=torch.float64).view(-1, 2).numpy()
    for face, region in zip(faces.numpy(), mask, strict=True):
        hull = (Delaunay(face).find_simplex(pixels) >= 0).reshape(size, size)
        found = region[0].numpy() > 0
        assert found[hull].all()
        assert np.mean(found != hull) < 0.01


def test_a_soft_mask_crosses_a_half_at_the_hull_and_a_margin_widens_it() -> None:
    face = mean_face().float()[None]
    hard, soft = face_region_mask(face, 64), face_region_mask(face, 64, softness=0.02)
    assert torch.equal((soft >= 0.5).float(), hard)
    assert 0 < soft.min() < 0.01
    assert face_region_mask(face, 64, margin=0.05).sum() > hard.sum() * 1.1
    with pytest.raises(ValueError, match="softness is -1"):
        face_region_mask(face, 8, softness=-1)
