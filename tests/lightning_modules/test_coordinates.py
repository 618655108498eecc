import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_modules.coordinates import (
    cells_to_crop,
    crop_to_sampling,
    edge_shares,
    map_positions,
    mirrored,
    pixel_grid,
    sampling_to_crop,
    signed,
    solve_2x2,
    to_crop,
    to_image_pixels,
)
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps

MATRICES = torch.tensor([[[0.5, 0.2, 10.0], [-0.1, 0.7, -4.0]], [[-2.0, 0.0, 60.0], [0.3, 1.5, 1.0]]])


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
    torch.testing.assert_close(signed(edge_shares(points, 96)), crop_to_sampling(points, 96), rtol=0, atol=1e-14)


def test_a_mirrored_pixel_is_the_mirror_images_pixel() -> None:
    image = torch.rand(1, 1, 8, 8)
    sampling = crop_to_sampling(mirrored(pixel_grid(8), 8), 8)[None]
    torch.testing.assert_close(F.grid_sample(image, sampling, align_corners=False), image.flip(-1))


def test_the_crop_is_undone() -> None:
    pixels = torch.rand(2, 68, 2, dtype=torch.float64) * 300
    torch.testing.assert_close(to_image_pixels(to_crop(pixels, MATRICES, 64), MATRICES, 64), pixels)


def test_to_crop_against_numpy() -> None:
    pixels = np.random.default_rng(0).uniform(0, 300, (2, 68, 2))
    found = to_crop(torch.from_numpy(pixels), MATRICES, 64)
    for face, matrix, expected in zip(found, MATRICES.double().numpy(), pixels, strict=True):
        homogeneous = np.concatenate([expected, np.ones((68, 1))], axis=1)
        np.testing.assert_allclose(face, homogeneous @ matrix.T / 64)


def test_positions_are_where_gaussians_are_drawn() -> None:
    maps = gaussian_heatmaps(torch.tensor([[[0.25, 0.5]]]), (4, 8), 0.1, offset=0.5)
    positions = map_positions(maps, offset=0.5)
    assert positions.shape == (4, 8, 2)
    torch.testing.assert_close(positions[0, 1], torch.tensor([1.5 / 8, 0.5 / 4]))
    row, column = divmod(int(maps.flatten().argmax()), 8)
    assert (positions[row, column] - torch.tensor([0.25, 0.5])).abs().max() <= 0.125
    cells = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    torch.testing.assert_close(cells_to_crop(cells, (4, 8), 0.5), positions[[0, 2], [1, 3]])


def test_two_equations_are_solved_as_torch_solves_them() -> None:
    matrices, values = torch.randn(50, 2, 2, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(solve_2x2(matrices, values), torch.linalg.solve(matrices, values), rtol=1e-9, atol=1e-9)
