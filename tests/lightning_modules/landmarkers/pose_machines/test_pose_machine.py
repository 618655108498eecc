"""The parts of a pose machine, and its loss."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.landmarkers import OpenPose
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachineOutput, centre_of_mass

LIGHT: dict[str, Any] = {
    "image_size": 64,
    "backbone": "mobilenetv3_small_050",
    "num_stages": 2,
    "features": 16,
    "width": 8,
    "first_width": 8,
    "kernel": 3,
    "sigma": 1.5,
}


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("sigma", "power"), [(0.875, 2.0), (1.5, 2.0), (0.7, 1.0)])
def test_the_centre_of_mass_reads_gaussians_exactly(sigma: float, power: float) -> None:
    landmarks = 0.3 + 0.4 * rand(4, 68, 2).double()
    heatmaps = gaussian_heatmaps(landmarks, (32, 32), sigma, offset=0.4375)
    found = centre_of_mass(heatmaps - 1e-5, radius=4, offset=0.4375, power=power)
    assert (found - landmarks).abs().max() * 32 < 0.02


def test_the_centre_of_mass_is_differentiable() -> None:
    heatmaps = (0.1 + rand(1, 2, 6, 6)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: centre_of_mass(maps, 2, 0.4, 2.0), heatmaps)


class TestLoss:
    def drawn(self, network: OpenPose, target: Tensor) -> PoseMachineOutput:
        """Perfect heatmaps in the second stage, empty ones in the first; nonsense for the pupils."""
        landmarks = gaussian_heatmaps(target, (16, 16), network.sigma, network.offset)
        background = 1 - landmarks.amax(1, keepdim=True)
        maps = torch.cat([landmarks, torch.full((len(target), 2, 16, 16), 7.0), background], 1)
        maps = torch.stack([torch.zeros_like(maps), maps], 1)
        return PoseMachineOutput(stages=torch.zeros(len(target), 2, 68, 2), maps=maps)

    def test_it_is_the_squared_error_of_every_map(self) -> None:
        network, target = OpenPose(**LIGHT), 0.2 + 0.6 * rand(2, 68, 2)
        found = network.loss(self.drawn(network, target), target, torch.tensor([1.0, 3.0]))
        place = np.arange(16) + 1.5 / 4
        energies = []
        for face in target.numpy():
            gaps = [(place[None, :, None] - face[:, None, None, 0] * 16), place[None, :] - face[:, None, 1] * 16]
            squares = gaps[0].reshape(68, 1, 16) ** 2 + gaps[1].reshape(68, 16, 1) ** 2
            maps = np.exp(-squares / (2 * 1.5**2))
            maps = np.concatenate([maps, 1 - maps.max(0, keepdims=True)])
            energies.append((maps**2).sum((1, 2)).mean() / (np.pi * 1.5**2))
        expected = 0.5 * (energies[0] + 3 * energies[1]) / 4  # the second stage has none
        assert found.item() == pytest.approx(expected, rel=1e-4)

    def test_it_adds_the_landmarks_own_error_if_asked_for(self) -> None:
        target = 0.2 + 0.6 * rand(2, 68, 2)
        plain, both = OpenPose(**LIGHT), OpenPose(**LIGHT, landmark_weight=2.0)
        output = self.drawn(plain, target)
        output.stages = target[:, None] + torch.tensor([0.03, 0.04])
        distance = (target[:, 36] - target[:, 45]).norm(dim=-1)
        extra = both.loss(output, target) - plain.loss(output, target)
        assert extra.item() == pytest.approx(2 * float((0.05 / distance).mean()), rel=1e-3)
