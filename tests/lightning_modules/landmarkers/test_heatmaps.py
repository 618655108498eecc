import numpy as np
import pytest
import torch
from kornia.geometry.subpix import render_gaussian2d
from scipy.ndimage import center_of_mass

from lightning_modules.coordinates import cell_centre
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps, peak, soft_argmax

CENTRED = cell_centre(4)


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("offset", "pixel"), [(0.0, 20.0), (CENTRED, 21.5)])
def test_a_landmark_on_cell_5_is_the_first_or_the_middle_one_of_pixels_20_to_23(offset: float, pixel: float) -> None:
    """16 cells over 64 pixels: stride 4."""
    landmark = torch.tensor([[[pixel / 64, pixel / 64]]])
    heatmap = gaussian_heatmaps(landmark, (16, 16), sigma=1.0, offset=offset)
    assert heatmap.argmax().item() == 5 * 16 + 5
    assert heatmap.max().item() == pytest.approx(1)
    torch.testing.assert_close(heatmap[0, 0, 5, 3:5], heatmap[0, 0, 5, 6:8].flip(0))
    torch.testing.assert_close(peak(heatmap, offset), landmark)
    torch.testing.assert_close(soft_argmax(heatmap, 0.1, radius=3, offset=offset), landmark)


def test_gaussians_are_kornias_up_to_their_height() -> None:
    landmarks = 0.2 + 0.6 * rand(2, 5, 2)
    ours = gaussian_heatmaps(landmarks, (24, 32), sigma=1.5)
    cells = landmarks * torch.tensor([32.0, 24.0], dtype=torch.float64)
    theirs = render_gaussian2d(cells, torch.full_like(cells, 1.5), (24, 32), normalized_coordinates=False)
    torch.testing.assert_close(ours / ours.sum((-1, -2), keepdim=True), theirs)


def test_it_is_scipys_centre_of_mass_of_the_softmax() -> None:
    heatmaps = 8 * rand(2, 3, 10, 14)
    found = soft_argmax(heatmaps, temperature=2.0)
    for b in range(2):
        for k in range(3):
            y, x = center_of_mass(np.exp(heatmaps[b, k].numpy() / 2))
            np.testing.assert_allclose(found[b, k], [x / 14, y / 10], atol=1e-12)


def test_landmarks_between_cells_come_back() -> None:
    landmarks = 0.1 + 0.8 * rand(4, 68, 2)
    heatmaps = gaussian_heatmaps(landmarks, (64, 64), sigma=1.5)
    assert (soft_argmax(heatmaps, 0.12, radius=4) - landmarks).abs().max() < 0.02 / 64
    assert (peak(heatmaps) - landmarks).abs().max() <= 0.25001 / 64


def test_a_window_leaves_out_what_lies_far_from_the_peak() -> None:
    heatmaps = gaussian_heatmaps(torch.tensor([[[0.25, 0.5]]]), (32, 32), sigma=1.5)
    heatmaps[..., 25:, 25:] = 0.9
    assert soft_argmax(heatmaps, 0.1)[0, 0, 0] > 0.5
    torch.testing.assert_close(soft_argmax(heatmaps, 0.1, radius=4), torch.tensor([[[0.25, 0.5]]]))


def test_at_the_border_and_on_plateaus_the_peak_is_not_moved() -> None:
    heatmaps = torch.zeros(1, 3, 8, 8)
    heatmaps[0, 0, 0, 4], heatmaps[0, 0, 0, 5] = 2, 1
    heatmaps[0, 1, 3, 4], heatmaps[0, 1, 3, 5], heatmaps[0, 1, 2, 4] = 2, 1, 1
    expected = torch.tensor([[[4.0, 0.0], [4.25, 2.75], [0.0, 0.0]]]) / 8
    torch.testing.assert_close(peak(heatmaps), expected)


@pytest.mark.parametrize("radius", [None, 2])
def test_gradients(radius: float | None) -> None:
    heatmaps = (4 * rand(1, 2, 5, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: soft_argmax(maps, 0.7, radius), (heatmaps,))
    landmarks = rand(1, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda points: gaussian_heatmaps(points, (5, 6), 1.5), (landmarks,))
