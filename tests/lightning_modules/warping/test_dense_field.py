import pytest
import torch

from lightning_modules.warping import folding, inside_photo, pixel_grid, warp_image
from tests.lightning_modules.warping.layouts import smooth_images


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
