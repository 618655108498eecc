"""OpenPose's face network and SBR's detector against a plain reading of the published ones."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.landmarkers import SBR, OpenPose
from lightning_modules.landmarkers.pose_machines.openpose import PUBLISHED_OPENPOSE
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachine
from lightning_modules.landmarkers.pose_machines.sbr import PUBLISHED_SBR
from lightning_modules.weights import Published, WeightsError, load_state

Layer = tuple[str, int, int, int]
"""Published name, channels in and out, side of the kernel."""


@dataclass
class Machine:
    """A published network, from its description: layers before the stages, with 2×2 pooling before some, and stages."""

    ours: type[PoseMachine]
    weights: Published
    trunk: list[Layer]
    pooled: set[str]
    stages: list[list[Layer]]
    heatmaps_first: bool

    def state(self) -> dict[str, Tensor]:
        generator, state = torch.Generator().manual_seed(0), {}
        for name, inputs, outputs, side in [*self.trunk, *(layer for stage in self.stages for layer in stage)]:
            shape = (outputs, inputs, side, side)
            state[f"{name}.weight"] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
            state[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
        return state

    def heatmaps(self, state: dict[str, Tensor], images: Tensor) -> Iterator[Tensor]:
        """What each stage of the published network finds in ``images``, which are as it takes them."""

        def conv(x: Tensor, name: str, side: int) -> Tensor:
            return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=side // 2)

        x = images
        for name, _, _, side in self.trunk:
            x = conv(F.max_pool2d(x, 2) if name in self.pooled else x, name, side).relu()
        features = x
        for *hidden, (last, _, _, side) in self.stages:
            for name, _, _, kernel in hidden:
                x = conv(x, name, kernel).relu()
            maps = conv(x, last, side)
            yield maps
            x = torch.cat([maps, features] if self.heatmaps_first else [features, maps], 1)


def openpose() -> Machine:
    trunk, channels = [], 3
    blocks = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512))
    for block, widths in enumerate(blocks, 1):
        for k, width in enumerate(widths, 1):
            trunk.append((f"conv{block}_{k}", channels, width, 3))
            channels = width
    trunk.append(("conv5_3_CPM", 512, 128, 3))
    stages = [[("conv6_1_CPM", 128, 512, 1), ("conv6_2_CPM", 512, 71, 1)]]
    for stage in range(2, 7):
        sizes = [(199, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (128, 71, 1)]
        stages.append([(f"Mconv{k}_stage{stage}", *size) for k, size in enumerate(sizes, 1)])
    return Machine(OpenPose, PUBLISHED_OPENPOSE, trunk, {"conv2_1", "conv3_1", "conv4_1"}, stages, True)


def sbr() -> Machine:
    trunk, channels, place = [], 3, 0
    for width in (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512):
        if width:
            trunk.append((f"features.{place}", channels, width, 3))
            channels = width
        place += 2 if width else 1
    trunk += [("CPM_feature.0", 512, 256, 3), ("CPM_feature.2", 256, 128, 3)]
    sizes = [[(128, 128, 3)] * 4 + [(128, 512, 1), (512, 69, 1)]]
    sizes += [[(197, 128, 7)] + [(128, 128, 7)] * 2 + [(128, 128, 3)] * 4 + [(128, 128, 1), (128, 69, 1)]] * 2
    stages = [[(f"stages.{i}.{2 * k}", *size) for k, size in enumerate(layers)] for i, layers in enumerate(sizes)]
    return Machine(SBR, PUBLISHED_SBR, trunk, {"features.5", "features.10", "features.17"}, stages, False)


@pytest.mark.parametrize(("machine", "prefix"), [(openpose(), ""), (sbr(), ""), (sbr(), "detector.")])
def test_published_weights_give_the_published_heatmaps(machine: Machine, prefix: str, tmp_path: Path) -> None:
    state, rgb = machine.state(), torch.rand(1, 3, 32, 32)
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "published.pth")
    network = machine.ours(image_size=32, weights=str(tmp_path / "published.pth")).eval()  # type: ignore[call-arg]
    assert not machine.weights.holds(network.state_dict())
    if machine.ours is OpenPose:  # takes blue first, from 0 to 255, over 256 less 0.5
        taken = 255 * rgb.flip(1) / 256 - 0.5
    else:
        taken = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
    with torch.no_grad():
        output, expected = network(rgb), list(machine.heatmaps(state, taken))
    assert output.maps.shape[1] == len(expected)
    for stage, maps in enumerate(expected):
        torch.testing.assert_close(output.maps[:, stage], maps, rtol=1e-3, atol=1e-3 * float(maps.std()))


@pytest.mark.parametrize(("machine", "side", "shape"), [(openpose(), 368, (6, 71, 46)), (sbr(), 256, (3, 69, 32))])
def test_its_size_is_the_published_networks(machine: Machine, side: int, shape: tuple[int, ...]) -> None:
    """38,425,706 parameters of OpenPose are the 153.7 MB of ``facenet.pth`` and of the Caffe model, in float32."""
    with torch.device("meta"):
        network = machine.ours()  # type: ignore[call-arg]
        output = network(torch.zeros(1, 3, side, side))
    assert sum(p.numel() for p in network.parameters()) == sum(value.numel() for value in machine.state().values())
    assert output.maps.shape == (1, *shape, shape[-1])
    assert output.stages.shape == (1, shape[0], 68, 2)


def test_weights_that_do_not_fit_are_listed() -> None:
    state = openpose().state()
    del state["Mconv2_stage4.bias"]
    with torch.device("meta"):
        network = OpenPose()
    ours = {name: value.to("meta") for name, value in PUBLISHED_OPENPOSE.translate(state).items()}
    with pytest.raises(WeightsError, match=r"1 of its 105 tensors differ.*\n  stages\.3\.2\.bias: missing"):
        load_state(network, ours, "facenet.pth")
