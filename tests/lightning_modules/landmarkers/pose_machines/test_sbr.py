"""SBR's registration loss."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.landmarkers import SBR
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachineOutput
from tests.lightning_modules.landmarkers.pose_machines.test_optical_flow import points, waves

LIGHT: dict[str, Any] = {
    "image_size": 64,
    "backbone": "mobilenetv3_small_050",
    "num_stages": 2,
    "features": 16,
    "width": 8,
    "first_width": 8,
    "kernel": 3,
    "window": 6,
}


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class Drifting(SBR):
    """Finds the same points in every frame, moved a pixel further to the right in each."""

    def forward(self, images: Tensor) -> PoseMachineOutput:
        drift = torch.arange(len(images)).view(-1, 1, 1) * torch.tensor([1.0, 0.0]) / 64
        landmarks = points().float() + drift
        return PoseMachineOutput(landmarks[:, None], heatmaps=gaussian_heatmaps(landmarks, (16, 16), 1.5))


@pytest.mark.parametrize(("speed", "expected"), [(1.0, 0.0), (0.0, 1.0), (2.0, 1.0)])
def test_the_registration_loss_is_the_distance_from_the_flow(speed: float, expected: float) -> None:
    network = Drifting(**LIGHT, registration_weight=3.0)
    frames = torch.cat([waves((speed * t, 0.0)) for t in range(3)])[None].float()
    assert network.registration_loss(frames).item() * 64 == pytest.approx(expected, abs=0.06)


def test_frames_add_the_registration_loss() -> None:
    network, frames, target = SBR(**LIGHT, registration_weight=3.0).eval(), rand(2, 2, 3, 64, 64), rand(1, 68, 2)
    nn.init.constant_(network.stages[-1][-1].bias, 0.5)  # sure of everything
    output = network(rand(1, 3, 64, 64))
    registration = network.registration_loss(frames)
    torch.testing.assert_close(
        network.loss(output, target, frames=frames), network.loss(output, target) + 3 * registration
    )


def test_the_registration_loss_trains_the_detector() -> None:
    network = SBR(**LIGHT, sigma=1.5).train()
    nn.init.constant_(network.stages[-1][-1].bias, 0.5)
    frames = torch.cat([waves((0.4 * t, 0.2 * t)) for t in range(2)])[None].float()
    network.registration_loss(frames).backward()
    gradient = next(network.parameters()).grad
    assert gradient is not None
    assert gradient.isfinite().all()
