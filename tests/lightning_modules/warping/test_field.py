import pytest
import torch

from lightning_modules.warping import PixelMSE, PolyharmonicSpline, folding, inside_photo, pixel_grid, warp_image
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images


@pytest.mark.parametrize("coarse", [None, 9])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_identity_returns_the_image(order: int, coarse: int | None) -> None:
    face, image = mean_face()[None], torch.rand(1, 3, 48, 48, dtype=torch.float64)
    spline = PolyharmonicSpline.fit(face, face, order)
    torch.testing.assert_close(spline.warp(image, coarse), image, rtol=0, atol=1e-9)
    single = PolyharmonicSpline.fit(face.float(), face.float(), order).warp(image.float(), coarse)
    torch.testing.assert_close(single, image.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("coarse", [None, 7])
def test_warped_at_x_is_the_photo_at_w_of_x(coarse: int | None) -> None:
    # The stylised face lies 3 px right of the photo's and 2 px below: so must the warped photo.
    size, photo_face = 32, mean_face()[None]
    stylised_face = photo_face + torch.tensor([3.0, 2.0]) / size
    photo = torch.zeros(1, 1, size, size, dtype=torch.float64)
    photo[0, 0, 10, 12] = 1.0
    warped = PolyharmonicSpline.fit(stylised_face, photo_face).warp(photo, coarse)
    expected = torch.zeros_like(photo)
    expected[0, 0, 12, 15] = 1.0
    torch.testing.assert_close(warped, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("coarse", [9, 17, 65])
def test_an_affine_field_survives_the_coarse_grid(coarse: int) -> None:
    source = mean_face()[None]
    linear = torch.tensor([[0.9, 0.2], [-0.1, 1.15]], dtype=torch.float64)
    field = PolyharmonicSpline.fit(source, source @ linear - 0.1).grid(70, coarse)
    torch.testing.assert_close(field, pixel_grid(70, dtype=torch.float64)[None] @ linear - 0.1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_default_grid_is_as_close_to_the_exact_field_as_documented(order: int) -> None:
    source, target = random_faces(1, seed=1).float().requires_grad_(), random_faces(1, seed=2).float()
    photo, stylised = smooth_images(1, 256), smooth_images(1, 256, seed=9)
    spline = PolyharmonicSpline.fit(source, target, order)
    fields = spline.grid(256), spline.grid(256, None)
    warped = [warp_image(photo, field) for field in fields]
    gradients = [torch.autograd.grad(PixelMSE()(w, stylised).sum(), source, retain_graph=True)[0] for w in warped]
    assert (fields[0] - fields[1]).abs().mean() * 256 < 0.005
    assert (warped[0] - warped[1]).abs().mean() < 2e-4
    assert torch.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) > 0.999


def test_padding_and_what_is_inside() -> None:
    size = 16
    field = pixel_grid(size)[None] + torch.tensor([4.0, 0.0]) / size
    photo = torch.rand(1, 3, size, size) + 0.5
    inside = inside_photo(field)
    assert inside.shape == (1, 1, size, size)
    assert inside[0, 0, 0].tolist() == [1.0] * 12 + [0.0] * 4
    black, border = warp_image(photo, field, "zeros"), warp_image(photo, field, "border")
    torch.testing.assert_close(black[..., :12], photo[..., 4:])
    torch.testing.assert_close(border[..., :12], photo[..., 4:])
    assert (black[..., 12:] == 0).all()
    torch.testing.assert_close(border[..., 12:], photo[..., -1:].expand(-1, -1, -1, 4))


def test_the_identity_is_wholly_inside_and_has_no_folds() -> None:
    for size in (7, 64, 255):
        field = pixel_grid(size)[None]
        assert inside_photo(field).all()
        assert folding(field).tolist() == [0.0]


def test_folding_is_the_share_of_mirrored_area() -> None:
    field = pixel_grid(41, dtype=torch.float64).repeat(3, 1, 1, 1)
    field[1, ..., 0] = 1 - field[1, ..., 0]
    field[2, ..., 0] = (field[2, ..., 0] - field[2, 0, 10, 0]).abs()
    torch.testing.assert_close(folding(field), torch.tensor([0.0, 1.0, 0.25], dtype=torch.float64))


def test_a_photo_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="20×30 pixels"):
        warp_image(torch.rand(1, 3, 20, 30), pixel_grid(20)[None])


def test_the_photo_may_be_larger_than_the_field() -> None:
    photo = smooth_images(1, 64)
    warped = warp_image(photo, pixel_grid(32)[None])
    torch.testing.assert_close(warped, photo[..., ::2, ::2], rtol=0, atol=1e-5)
