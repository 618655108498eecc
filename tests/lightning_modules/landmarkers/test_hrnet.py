import math
from typing import Any

import pytest
import torch

from lightning_modules.landmarkers import HRNet
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.reference_shape import MEAN_FACE

TINY: dict[str, Any] = {"image_size": 64, "backbone": "mobilenetv3_small_050", "feature_dim": 16}


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tiny() -> HRNet:
    torch.manual_seed(0)
    return HRNet(**TINY).eval()


def test_both_estimates_read_exact_heatmaps(tiny: HRNet) -> None:
    target = 0.2 + 0.6 * rand(2, 68, 2)
    heatmaps = gaussian_heatmaps(target, (64, 64), sigma=1.5, offset=0.5)
    assert (tiny.read(heatmaps).landmarks - target).abs().max() < 0.02 / 64
    published = HRNet(**TINY, estimate="peak")
    assert 0.1 / 64 < (published.read(heatmaps).landmarks - target).abs().max() <= 0.2501 / 64
    output = published(rand(1, 3, 64, 64))
    assert (output.stages.requires_grad, output.heatmaps.requires_grad) == (False, True)


def test_the_published_estimate_is_the_published_programs(tiny: HRNet) -> None:
    """Its rule written out for one heatmap: highest cell, a quarter towards the higher neighbours, half a cell more."""
    heatmap = rand(1, 68, 16, 16)
    published = HRNet(**TINY, estimate="peak").read(heatmap).landmarks[0] * 16
    for k in range(68):
        y, x = divmod(int(heatmap[0, k].argmax()), 16)
        expected = torch.tensor([x + 0.5, y + 0.5])
        if 0 < x < 15 and 0 < y < 15:
            row, column = heatmap[0, k, y], heatmap[0, k, :, x]
            expected[0] += math.copysign(0.25, row[x + 1] - row[x - 1])
            expected[1] += math.copysign(0.25, column[y + 1] - column[y - 1])
        torch.testing.assert_close(published[k], expected)


def test_its_loss_is_the_mean_squared_error_in_units_of_a_gaussians(tiny: HRNet) -> None:
    target, weight = torch.tensor(MEAN_FACE) + 0.05 * rand(2, 68, 2), torch.tensor([1.0, 0.25])
    output = tiny(rand(2, 3, 64, 64))
    wanted = gaussian_heatmaps(target, (16, 16), 1.5, 0.5)
    each = (output.heatmaps - wanted).square().mean((1, 2, 3)) * 256 / (math.pi * 1.5**2)
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(tiny.loss(output, target, weight), expected)
    assert tiny.loss(output, target, torch.zeros(2)).item() == 0
    assert tiny.loss(tiny.read(wanted), target).item() == 0
    centred = torch.full((1, 68, 2), 0.5)
    assert tiny.loss(tiny.read(torch.zeros(1, 68, 64, 64)), centred).item() == pytest.approx(1, rel=1e-4)
