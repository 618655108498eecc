import pytest
import torch
import torch.nn.functional as F

from lightning_modules.warping import crop_to_sampling, pixel_grid, sampling_to_crop


@pytest.mark.parametrize("size", [1, 5, 64, 256])
def test_pixel_i_is_at_i_over_size(size: int) -> None:
    grid = pixel_grid(size, dtype=torch.float64)
    assert grid.shape == (size, size, 2)
    row, column = size // 2, size - 1
    assert grid[row, column].tolist() == [column / size, row / size]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_sampling_at_a_pixel_returns_that_pixel(size: int) -> None:
    image = torch.rand(1, 2, size, size, dtype=torch.float64)
    sampling = crop_to_sampling(pixel_grid(size, dtype=torch.float64), size)[None]
    sampled = F.grid_sample(image, sampling, align_corners=False)
    torch.testing.assert_close(sampled, image, rtol=0, atol=1e-12)


def test_there_and_back() -> None:
    points = torch.randn(3, 7, 2, dtype=torch.float64)
    torch.testing.assert_close(sampling_to_crop(crop_to_sampling(points, 96), 96), points, rtol=0, atol=1e-14)
