"""The light landmarker: any backbone, exact reading of coarse maps, an uncertainty that means something."""

import math

import pytest
import torch

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.coordinates import map_positions
from lightning_modules.landmarkers import Integral, LandmarkerOutput
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps, local_softmax
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from tests.lightning_modules.landmarkers.training import drawn_crops, train

SIZE = 64
SMALL = {"image_size": SIZE, "backbone": "mobilenetv3_small_050", "feature_dim": 32}


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def output_at(landmarks: torch.Tensor, scale: float) -> LandmarkerOutput:
    return LandmarkerOutput(
        stages=landmarks[:, None],
        heatmaps=gaussian_heatmaps(landmarks, (8, 8), 1.0),
        uncertainty=torch.full(landmarks.shape[:2], math.sqrt(3) * scale),
    )


@pytest.mark.parametrize(
    ("backbone", "channels", "strides"),
    [
        ("tf_efficientnet_lite0", [40, 112], [8, 16]),
        ("convnext_atto", [80, 160], [8, 16]),
        ("vit_tiny_patch16_224", [192] * 4, [16] * 4),
        ("swin_tiny_patch4_window7_224", [192, 384], [8, 16]),
    ],
)
def test_any_backbone(backbone: str, channels: list[int], strides: list[int]) -> None:
    landmarker = Integral(image_size=128, backbone=backbone, feature_dim=16)
    assert (landmarker.backbone.channels, landmarker.backbone.strides) == (channels, strides)
    output = landmarker(rand(2, 3, 128, 128))
    assert output.stages.shape == (2, 1, NUM_LANDMARKS, 2)
    assert output.heatmaps.shape == (2, NUM_LANDMARKS, 16, 16)
    assert output.features.shape == (2, 16, 16, 16)
    output.landmarks.square().mean().backward()
    assert [name for name, p in landmarker.named_parameters() if p.grad is None] == []


def test_a_coarse_map_is_read_to_a_fraction_of_a_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    landmarks = 0.2 + 0.6 * torch.rand(4, NUM_LANDMARKS, 2, generator=generator)
    maps = gaussian_heatmaps(landmarks, (16, 16), 1.25)
    weights = local_softmax(maps, 0.15, 2)
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(4, NUM_LANDMARKS))
    read = torch.einsum("bkhw,hwc->bkc", weights, map_positions(maps))
    assert ((read - landmarks).norm(dim=-1) * 16).mean() < 0.05, "in cells"


class TestLoss:
    landmarker = Integral(**SMALL, sigma=1.0, uncertainty_weight=1.0, landmark_weight=0.0)
    target = torch.tensor(MEAN_FACE)[None] * 0.8 + 0.1

    def test_the_likeliest_spread_is_half_the_mean_distance(self) -> None:
        """d/b + 2 log b is least at b = d/2, which a distance drawn from the density has in the mean."""
        off = self.target + torch.tensor([0.03, 0.04])
        losses = {b: self.landmarker.loss(output_at(off, b), self.target).item() for b in (0.02, 0.025, 0.03)}
        assert min(losses, key=lambda b: losses[b]) == 0.025

    def test_its_value(self) -> None:
        """Flat maps score 1; a spread of one cell at no distance 0."""
        output = output_at(self.target, 1 / 8)
        output.heatmaps = torch.zeros(1, NUM_LANDMARKS, 8, 8)
        drawn = gaussian_heatmaps(self.target, (8, 8), 1.0).square().sum((-1, -2)).mean() / math.pi
        torch.testing.assert_close(self.landmarker.loss(output, self.target), drawn)
        assert drawn == pytest.approx(1, abs=0.05)

    def test_spreads_do_not_move_landmarks(self) -> None:
        landmarks = (self.target + 0.01).requires_grad_()
        output = output_at(landmarks.detach(), 0.02)
        output.stages = landmarks[:, None]
        self.landmarker.loss(output, self.target).backward()
        assert landmarks.grad is None or landmarks.grad.abs().max() == 0


def test_after_training_the_uncertainty_tells_sure_from_unsure() -> None:
    """Trained with two labels for the same faces at some landmarks, it is less sure of these."""
    torch.manual_seed(0)
    landmarker = Integral(**SMALL, uncertainty_weight=0.1)
    images, target = drawn_crops(SIZE)
    shaken = target.clone()
    shaken[:, :17, 1] += 0.1
    images, labels = torch.cat([images, images]), torch.cat([target, shaken])
    train(landmarker, images, labels, steps=60, rate=1e-2)
    uncertainty = landmarker.eval()(images).uncertainty
    assert uncertainty[:, :17].mean() > 1.5 * uncertainty[:, 17:].mean()
