import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.landmarkers import SLPT, HRNet
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.weights import WeightsError
from tests.conftest import TINY_LANDMARKER

TINY: dict[str, Any] = {"image_size": 64, "backbone": "mobilenetv3_small_050", "feature_dim": 16}


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tiny() -> HRNet:
    torch.manual_seed(0)
    return HRNet(**TINY).eval()


def test_it_gives_one_stage_and_its_heatmaps(tiny: HRNet) -> None:
    output = tiny(rand(2, 3, 64, 64))
    assert output.stages.shape == (2, 1, 68, 2)
    assert output.heatmaps.shape == (2, 68, 16, 16)


def test_images_are_normalised_inside_and_features_are_what_the_head_reads(tiny: HRNet) -> None:
    images = rand(2, 3, 64, 64)
    expected = tiny.forward_normalized((images - tiny.image_mean) / tiny.image_std)
    torch.testing.assert_close(tiny(images).heatmaps, expected.heatmaps)
    torch.testing.assert_close(tiny.read(tiny.head(tiny.features(images))).stages, expected.stages)


def test_both_estimates_read_exact_heatmaps(tiny: HRNet) -> None:
    target = 0.2 + 0.6 * rand(2, 68, 2)
    heatmaps = gaussian_heatmaps(target, (64, 64), sigma=1.5, offset=0.5)
    assert (tiny.read(heatmaps).landmarks - target).abs().max() < 0.02 / 64
    published = HRNet(**TINY, estimate="peak")
    assert 0.1 / 64 < (published.read(heatmaps).landmarks - target).abs().max() <= 0.2501 / 64


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


@pytest.mark.parametrize("kwargs", [TINY, {"image_size": 64}], ids=["tiny", "published"])
def test_every_parameter_has_a_gradient_from_the_stages_alone(kwargs: dict[str, Any]) -> None:
    """Plain DDP stops at a parameter without one; methods use ``stages`` and not ``heatmaps``."""
    landmarker = HRNet(**kwargs).train()
    landmarker(rand(2, 3, 64, 64)).stages.square().mean().backward()
    assert [name for name, p in landmarker.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


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


def test_its_own_weights_come_back_and_others_are_refused(tiny: HRNet, tmp_path: Path) -> None:
    path = tmp_path / "hrnet.pt"
    torch.save(tiny.state_dict(), path)
    again = HRNet(**TINY, weights=str(path))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tiny.state_dict().items())
    with pytest.raises(
        WeightsError, match=r"hrnet\.pt does not hold the weights of this HRNet(.*\n)*  head\.0\.weight"
    ):
        HRNet(**{**TINY, "feature_dim": 8}, weights=str(path))
    torch.save(SLPT(**TINY_LANDMARKER).state_dict(), path)
    with pytest.raises(WeightsError, match=r"does not hold the weights of this HRNet"):
        HRNet(**TINY, weights=str(path))


def test_channels_last_changes_the_speed_only(tiny: HRNet) -> None:
    quick = HRNet(**TINY, channels_last=True).eval()
    quick.load_state_dict(tiny.state_dict())
    images = rand(2, 3, 64, 64)
    torch.testing.assert_close(quick(images).heatmaps, tiny(images).heatmaps, atol=1e-6, rtol=1e-4)


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size is 100; expected a multiple of 32"):
        HRNet(image_size=100)
