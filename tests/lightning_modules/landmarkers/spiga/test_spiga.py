"""SPIGA: the published state dict, the first landmarks, the loss, and what it takes from training shapes."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers import SPIGA
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.landmarkers.spiga.backbone import AddCoordinates
from lightning_modules.landmarkers.spiga.head_pose import fit_pose, project
from lightning_modules.landmarkers.spiga.spiga import PUBLISHED_SPIGA, SPIGAOutput
from lightning_modules.weights import WeightsError, load_state
from tests.lightning_modules.landmarkers.spiga.test_face_3d import views
from tests.lightning_modules.landmarkers.training import rand

Shapes = Iterator[tuple[str, tuple[int, ...]]]
TINY: dict[str, Any] = {
    "image_size": 64,
    "channels": 16,
    "stacks": 2,
    "embed_dim": 16,
    "graph_dim": 16,
    "graph_layers": 1,
    "window_points": 3,
}


def norm(name: str, width: int) -> Shapes:
    yield from ((f"{name}.{key}", (width,)) for key in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def conv_norm(name: str, inputs: int, outputs: int, side: int) -> Shapes:
    yield f"{name}.conv.weight", (outputs, inputs, side, side)
    yield from norm(f"{name}.bn", outputs)


def residual(name: str, inputs: int, outputs: int) -> Shapes:
    half = outputs // 2
    for k, (a, b, side) in enumerate([(inputs, half, 1), (half, half, 3), (half, outputs, 1)], 1):
        yield from norm(f"{name}.bn{k}", a)
        yield f"{name}.conv{k}.conv.weight", (b, a, side, side)
    yield f"{name}.skip_layer.conv.weight", (outputs, inputs, 1, 1)


def hourglass(name: str, levels: int) -> Shapes:
    yield from residual(f"{name}.up1", 256, 256)
    yield from conv_norm(f"{name}.pool1", 256, 256, 2)
    yield from residual(f"{name}.low1", 256, 256)
    yield from hourglass(f"{name}.low2", levels - 1) if levels > 1 else residual(f"{name}.low2", 256, 256)
    yield from residual(f"{name}.low3", 256, 256)
    yield f"{name}.up2.deconv.weight", (256, 256, 2, 2)
    yield from norm(f"{name}.up2.bn", 256)


def perceptron(name: str, *widths: int) -> Shapes:
    for k, (a, b) in enumerate(pairwise(widths)):
        yield f"{name}.{3 * k}.weight", (b, a, 1)
        yield f"{name}.{3 * k}.bias", (b,)
        if k < len(widths) - 2:
            yield from norm(f"{name}.{3 * k + 1}", b)


def backbone() -> Shapes:
    cnn = "visual_cnn"
    yield from ((f"{cnn}.pre.0.{axis}_channel", (1, 1, 256, 256)) for axis in "xy")
    yield from conv_norm(f"{cnn}.pre.1", 6, 64, 7)
    yield from residual(f"{cnn}.pre.2", 64, 128)
    yield from conv_norm(f"{cnn}.pre.3", 128, 128, 2)
    yield from residual(f"{cnn}.pre.4", 128, 128)
    yield from residual(f"{cnn}.pre.5", 128, 256)
    for i in range(4):
        yield from hourglass(f"{cnn}.hgs.{i}", 4)
        yield from residual(f"{cnn}.hgs_out.{i}.0", 256, 256)
        yield from conv_norm(f"{cnn}.hgs_out.{i}.1", 256, 256, 1)
        for k in (0, 2):
            yield from residual(f"{cnn}.hgs_core.{i}.{k}", 256, 256)
            yield from conv_norm(f"{cnn}.hgs_core.{i}.{k + 1}", 256, 256, 2)
    for i in range(3):
        yield f"{cnn}.outs_points.{i}.0.conv.weight", (68, 256, 1, 1)
        yield f"{cnn}.outs_edges.{i}.0.conv.weight", (13, 256, 1, 1)
        yield f"{cnn}.outs_features.{i}.conv.weight", (68, 256, 1, 1)
        yield f"{cnn}.merge_preds.{i}.conv.weight", (256, 68, 1, 1)
        yield f"{cnn}.merge_features.{i}.conv.weight", (256, 256, 1, 1)
    yield f"{cnn}.E2Ptransform.ones", (1, 64, 64)
    yield f"{cnn}.E2Ptransform.edge2point", (68, 14)


def published_shapes() -> Shapes:
    """Names and shapes of the published 68-point state dicts, written down from the published program."""
    yield from backbone()
    yield from (("pose_fc.weight", (6, 256)), ("pose_fc.bias", (6,)), ("diagonal_mask", (68, 68)))
    for step in range(3):
        yield f"theta_S.{step}", (2, 2)
        yield from perceptron(f"shape_encoder.{step}.encoder", 134, 256, 256, 512)
        yield from ((f"conv_window.{step}.weight", (512, 256, 7, 7)), (f"conv_window.{step}.bias", (512,)))
        for layer, width in enumerate([512, 256, 256, 256]):
            gat = f"gcn.{step}.gat.{layer}"
            if width != 256:
                yield from perceptron(f"{gat}.reshape", width, 256)
            for name in ("merge", "proj.0", "proj.1", "proj.2"):
                yield f"{gat}.attention.attn.{name}.weight", (width, width, 1)
                yield f"{gat}.attention.attn.{name}.bias", (width,)
            yield from perceptron(f"{gat}.attention.mlp", 2 * width, 2 * width, 256)
        yield from perceptron(f"gcn.{step}.decoder.decoder", 256, 256, 128, 64, 32, 2)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in published_shapes()}


@pytest.fixture(scope="module")
def full_size() -> SPIGA:
    with torch.device("meta"):
        return SPIGA()


def test_the_published_state_dict_fits_tensor_by_tensor(published: dict[str, torch.Tensor], full_size: SPIGA) -> None:
    load_state(full_size, PUBLISHED_SPIGA.translate(published), "spiga.pt", PUBLISHED_SPIGA.optional)
    lacking = {name: value for name, value in published.items() if name != "gcn.2.gat.3.attention.attn.merge.bias"}
    ours = PUBLISHED_SPIGA.translate(lacking)
    with pytest.raises(WeightsError, match=r"differ.*\n  regressors\.2\.layers\.3\.merge\.bias: missing"):
        load_state(full_size, ours, "spiga.pt", PUBLISHED_SPIGA.optional)


def test_its_size_is_the_papers(published: dict[str, torch.Tensor], full_size: SPIGA) -> None:
    """60.3 million, if a million is 2^20 and the shortcuts that are never applied count."""
    count = sum(p.numel() for p in full_size.parameters())
    unused = sum(v.numel() for name, v in published.items() if ".skip_layer." in name and v.shape[0] == v.shape[1])
    assert count == 58_968_364
    assert round((count + unused) / 2**20, 1) == 60.3
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = [name for name in published if not name.endswith(statistics)]
    constants = ("visual_cnn.pre.0.", "visual_cnn.E2P", "theta_S", "diagonal_mask")
    assert sum(published[name].numel() for name in learned if not name.startswith(constants)) == count + unused
    output = full_size(torch.zeros(2, 3, 256, 256, device="meta"))
    assert output.stages.shape == (2, 3, 68, 2)
    assert output.poses.shape == (2, 4, 6)
    assert full_size.features(torch.zeros(2, 3, 256, 256, device="meta")).shape == (2, 256, 64, 64)


def test_coordinates_are_the_published_channels() -> None:
    found = AddCoordinates()(torch.zeros(1, 3, 4, 8))[0, 3:]
    x, y = np.linspace(-1, 1, 8), np.linspace(-1, 1, 4)[:, None]
    for channel, expected in zip(found, (x + 0 * y, y + 0 * x, np.hypot(x - 0.5, y - 0.5)), strict=True):
        np.testing.assert_allclose(channel, expected, atol=1e-6)


def test_untrained_it_starts_from_the_frontal_face() -> None:
    output = SPIGA(**TINY).eval()(rand(2, 3, 64, 64))
    assert (output.initial - torch.tensor(MEAN_FACE)).norm(dim=-1).mean() < 0.08
    assert (output.landmarks - output.initial).abs().max() < 0.25 * (1 / 2 + 1 / 4 + 1 / 8)
    torch.testing.assert_close(output.initial, project(SPIGA(**TINY).face_3d, output.poses[:, -1]))


def test_images_go_in_blue_first() -> None:
    backbone, images, seen = SPIGA(**TINY).eval().backbone, rand(1, 3, 64, 64), []
    backbone.get_submodule("stem").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    backbone(images)
    assert torch.equal(seen[0], images.flip(1))


class TestAnotherBackbone:
    LITE = TINY | {"backbone": "tf_efficientnet_lite0"}

    def test_its_map_has_the_hourglasses_stride_and_gives_one_pose(self) -> None:
        network, images = SPIGA(**self.LITE).eval(), rand(2, 3, 64, 64)
        output = network(images)
        assert output.features.shape == (2, 16, 16, 16)
        assert output.poses.shape == (2, 1, 6)
        assert output.stages.shape == (2, 3, 68, 2)

    def test_images_go_in_as_its_weights_want_them(self) -> None:
        """EfficientNet-Lite as TensorFlow has it: red first, in [-1, 1]."""
        backbone, images, seen = SPIGA(**self.LITE).eval().backbone, rand(1, 3, 64, 64), []
        backbone.get_submodule("pyramid").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        backbone(images)
        torch.testing.assert_close(seen[0], 2 * images - 1)

    def test_a_name_that_timm_lacks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="timm has no network 'hourglass'"):
            SPIGA(**TINY, backbone="hourglass")


def test_its_loss_is_smooth_l1_of_landmarks_and_poses() -> None:
    network = SPIGA(**TINY, pose_weight=0.5)
    wanted = torch.tensor([[10.0, -5.0, 3.0, 0.05, -0.02, 2.7], [-20.0, 8.0, -4.0, 0.0, 0.0, 2.9]])
    target = project(network.face_3d, wanted)
    stages = target[:, None] + torch.tensor([0.0, 0.004, 0.1]).view(1, 3, 1, 1)
    poses = wanted[:, None] + torch.tensor([18 / math.pi, 0, 0, 0.3, 0, 0])  # 0.1 radians of yaw, 0.3 to the right
    found = network.loss(SPIGAOutput(stages, poses=poses), target)
    landmarks = 2 * (0 + 0.5 * 0.004**2 * 64 + 0.1 - 0.5 / 64) / 3
    pose = (0.5 * 0.1**2 / 0.1 + 0.3 - 0.5 * 0.1) / 6
    assert found.item() == pytest.approx(landmarks + 0.5 * pose, rel=0.02)


class TestShapes:
    def test_a_face_in_depth_is_taken_from_shapes_that_turn(self) -> None:
        network, shapes = SPIGA(**TINY), views(100).float()
        before = network.face_3d.clone()
        network.face_3d.mul_(1.5)
        network.fit_shapes(shapes)
        assert (network.face_3d - before).abs().max() < 0.02
        fitted = fit_pose(network.face_3d, shapes.mean(0)[None])
        torch.testing.assert_close(network.pose_head.bias.detach()[None], fitted)

    def test_it_stays_where_shapes_show_none(self) -> None:
        network, shapes = SPIGA(**TINY), torch.tensor(MEAN_FACE) + 0.02 * rand(4, 1, 2)
        before = network.face_3d.clone()
        network.fit_shapes(shapes)
        torch.testing.assert_close(network.face_3d, before)
        initial = project(network.face_3d, network.pose_head.bias.detach()[None])[0]
        assert (initial - shapes.mean(0)).norm(dim=-1).mean() < 0.03

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(68, 2\); expected \(N, 68, 2\)"):
            SPIGA(**TINY).fit_shapes(torch.zeros(68, 2))
