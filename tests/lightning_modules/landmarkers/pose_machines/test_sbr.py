"""SBR: the published detector's state dict, and the registration loss of its detections."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.landmarkers import SBR
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachineOutput
from lightning_modules.landmarkers.pose_machines.sbr import PUBLISHED_SBR
from lightning_modules.weights import load_state
from tests.lightning_modules.landmarkers.pose_machines.test_optical_flow import points, waves
from tests.lightning_modules.landmarkers.training import configured

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
COUNT = 16_716_687
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def published_convolutions() -> Iterator[tuple[str, int, int, int]]:
    """Name, channels in and out, and kernel of the published detector's layers, from its description."""
    channels, place = 3, 0
    for width in VGG16:
        if isinstance(width, int):
            yield f"features.{place}", channels, width, 3
            channels = width
        place += 2 if isinstance(width, int) else 1
    yield from (("CPM_feature.0", 512, 256, 3), ("CPM_feature.2", 256, 128, 3))
    stages = [[(128, 128, 3)] * 4 + [(128, 512, 1), (512, 69, 1)]]
    stages += [[(197, 128, 7)] + [(128, 128, 7)] * 2 + [(128, 128, 3)] * 4 + [(128, 128, 1), (128, 69, 1)]] * 2
    for i, layers in enumerate(stages):
        yield from ((f"stages.{i}.{2 * k}", *layer) for k, layer in enumerate(layers))


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    generator, state = torch.Generator().manual_seed(0), {}
    for name, inputs, outputs, side in published_convolutions():
        shape = (outputs, inputs, side, side)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        state[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    return state


def published_heatmaps(state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """What the published detector says of normalised images."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x, maps, features = images, [], images
    for name, *_ in published_convolutions():
        group, *_, place = name.split(".")
        if group == "stages" and place == "0":
            features = x if not maps else features
            x = features if not maps else torch.cat([features, maps[-1]], 1)
        if name in ("features.5", "features.10", "features.17"):
            x = F.max_pool2d(x, 2)
        x = conv(x, name)
        if group == "stages" and x.shape[1] == 69:
            maps.append(x)
        else:
            x = x.relu()
    return maps


def test_its_size_is_the_published_detectors() -> None:
    with torch.device("meta"):
        network = SBR()
        output = network(torch.zeros(1, 3, 256, 256))
    count = sum(p.numel() for p in network.parameters())
    assert count == sum(a * b * side**2 + b for _, a, b, side in published_convolutions()) == COUNT
    assert output.maps.shape == (1, 3, 69, 32, 32)
    assert output.stages.shape == (1, 3, 68, 2)


def test_published_weights_give_the_published_heatmaps(published: dict[str, Tensor]) -> None:
    network = SBR(image_size=32).eval()
    load_state(network, PUBLISHED_SBR.translate({f"detector.{k}": v for k, v in published.items()}), "sbr.pth")
    images = rand(1, 3, 32, 32)
    normalised = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.no_grad():
        output, expected = network(images), published_heatmaps(published, normalised)
    for stage, maps in enumerate(expected):
        torch.testing.assert_close(output.maps[:, stage], maps, rtol=1e-3, atol=1e-3 * float(maps.std()))
    assert PUBLISHED_SBR.holds(published)
    assert not PUBLISHED_SBR.holds(network.state_dict())


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


def test_the_shipped_configuration_is_the_published_detector() -> None:
    with torch.device("meta"):
        network = configured("sbr.yaml")
    assert isinstance(network, SBR)
    assert (network.image_size, network.sigma, network.power) == (256, 0.5, 1.0)
    assert sum(p.numel() for p in network.parameters()) == COUNT
