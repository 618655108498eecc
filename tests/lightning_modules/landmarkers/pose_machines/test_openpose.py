"""OpenPose's face network against a plain reading of the published one, and the pose machine's parts."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.landmarkers import OpenPose
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.pose_machines.openpose import PUBLISHED_OPENPOSE
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachineOutput, centre_of_mass
from lightning_modules.weights import WeightsError, load_state
from tests.lightning_modules.landmarkers.training import configured

VGG = {
    "conv1": (64, 64),
    "conv2": (128, 128),
    "conv3": (256, 256, 256, 256),
    "conv4": (512, 512, 512, 512),
    "conv5": (512, 512),
}

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


def published_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of ``facenet.pth``, written down from the network's published description."""
    channels = 3
    for block, widths in VGG.items():
        for k, width in enumerate(widths, 1):
            yield f"{block}_{k}", (width, channels, 3, 3)
            channels = width
    yield "conv5_3_CPM", (128, 512, 3, 3)
    yield "conv6_1_CPM", (512, 128, 1, 1)
    yield "conv6_2_CPM", (71, 512, 1, 1)
    for stage in range(2, 7):
        yield f"Mconv1_stage{stage}", (128, 199, 7, 7)
        yield from ((f"Mconv{k}_stage{stage}", (128, 128, 7, 7)) for k in range(2, 6))
        yield f"Mconv6_stage{stage}", (128, 128, 1, 1)
        yield f"Mconv7_stage{stage}", (71, 128, 1, 1)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published_shapes():
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return state


def published_heatmaps(state: dict[str, Tensor], bgr: Tensor) -> list[Tensor]:
    """What the published network says of blue, green and red from 0 to 255."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x = bgr / 256 - 0.5
    for block, widths in VGG.items():
        x = F.max_pool2d(x, 2) if block not in ("conv1", "conv5") else x
        for k in range(1, len(widths) + 1):
            x = conv(x, f"{block}_{k}").relu()
    features = conv(x, "conv5_3_CPM").relu()
    maps = [conv(conv(features, "conv6_1_CPM").relu(), "conv6_2_CPM")]
    for stage in range(2, 7):
        x = torch.cat([maps[-1], features], 1)
        for k in range(1, 7):
            x = conv(x, f"Mconv{k}_stage{stage}").relu()
        maps.append(conv(x, f"Mconv7_stage{stage}"))
    return maps


def test_its_size_is_the_published_networks() -> None:
    """38,425,706 parameters: the 153.7 MB of ``facenet.pth`` and of the Caffe model, in float32."""
    with torch.device("meta"):
        network = OpenPose()
        output = network(torch.zeros(1, 3, 368, 368))
    count = sum(p.numel() for p in network.parameters())
    assert count == sum(math.prod(shape) + shape[0] for _, shape in published_shapes()) == 38_425_706
    assert output.maps.shape == (1, 6, 71, 46, 46)
    assert output.stages.shape == (1, 6, 68, 2)
    assert network.backbone(torch.zeros(1, 3, 368, 368, device="meta")).shape == (1, 128, 46, 46)


def test_published_weights_give_the_published_heatmaps(published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "facenet.pth")
    network = OpenPose(image_size=32, weights=str(tmp_path / "facenet.pth")).eval()
    rgb = rand(1, 3, 32, 32)
    with torch.no_grad():
        output = network(rgb)
        expected = published_heatmaps(published, 255 * rgb.flip(1))
    for stage, maps in enumerate(expected):
        torch.testing.assert_close(output.maps[:, stage], maps, rtol=1e-3, atol=1e-3 * float(maps.std()))


def test_weights_that_do_not_fit_are_listed(published: dict[str, Tensor]) -> None:
    state = {name: value for name, value in published.items() if name != "Mconv2_stage4.bias"}
    with torch.device("meta"):
        network = OpenPose()
    ours = {name: value.to("meta") for name, value in PUBLISHED_OPENPOSE.translate(state).items()}
    with pytest.raises(WeightsError, match=r"1 of its 105 tensors differ.*\n  stages\.3\.2\.bias: missing"):
        load_state(network, ours, "facenet.pth")


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


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="image_size is 100; expected a multiple of 8"), torch.device("meta"):
        OpenPose(image_size=100)
    with pytest.raises(ValueError, match="image_size is 72; expected a multiple of 32"):
        OpenPose(**{**LIGHT, "image_size": 72})


def test_the_shipped_configuration_is_the_published_network() -> None:
    with torch.device("meta"):
        network = configured("openpose.yaml")
    assert isinstance(network, OpenPose)
    assert (network.image_size, network.landmark_weight) == (368, 0)
    assert sum(p.numel() for p in network.parameters()) == 38_425_706
