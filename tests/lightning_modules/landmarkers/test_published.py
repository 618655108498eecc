"""Our HRNet, STAR and SLPT against numbers computed with the published programs, all read through the importer.

A few numbers are carried here; the rest, and the list of the published tensors, are kept outside the repository.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers import SLPT, STAR, HRNet, Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.backbone_landmarker import NORMALIZATION
from tests.lightning_modules.landmarkers.published import fill, golden, normalized_images
from tests.lightning_modules.landmarkers.training import configured

TO_PUBLISHED = {
    HRNet: ((r"^backbone\.trunk\.", ""),),
    STAR: (
        (r"\.(conv[123])\.", r".\1.conv."),
        (r"\.skip\.", ".skip_layer.conv."),
        (r"^stem\.(conv|bn)\.", r"pre.0.\1."),
        (r"^stem\.block1", "pre.1"),
        (r"^stem\.block2", "pre.3"),
        (r"^stem\.block3", "pre.4"),
        (r"^stacks\.(\d)\.coordinates", r"hgs.\1.coordconv.conv"),
        (r"^stacks\.(\d)\.hourglass", r"hgs.\1"),
        (r"^stacks\.(\d)\.neck\.0", r"features.\1.0"),
        (r"^stacks\.(\d)\.neck\.1", r"features.\1.1.conv"),
        (r"^stacks\.(\d)\.neck\.2", r"features.\1.1.bn"),
        (r"^stacks\.(\d)\.(\w+maps)", r"out_\2.\1.conv"),
        (r"^merges\.(\d)\.(\w+)", r"merge_\2.\1.conv"),
    ),
}
"""Our names as patterns, and the published ones: the importer's way back."""

UNUSED_BY_STAR = 3_700_864
"""Parameters of convolutions that the published network creates on shortcuts and never applies; ours has none."""


PARAMETERS = {
    "slpt": 13_178_508,
    "hrnet": 9_654_398,
    "star": 17_069_572 - UNUSED_BY_STAR,
    "openpose": 38_425_706,
    "spiga": 58_968_364,
    "sbr": 16_716_687,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_shipped_configuration_is_the_published_network(name: str) -> None:
    with torch.device("meta"):
        network = configured(f"{name}.yaml")
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert network.image_size == (368 if name == "openpose" else 256)


@pytest.mark.parametrize("kind", [SLPT, HRNet, STAR])
def test_every_published_parameter_has_a_gradient_from_the_stages_alone(kind: type[Landmarker]) -> None:
    """Plain DDP stops at a parameter without one; methods use ``stages`` and nothing else."""
    landmarker = kind(image_size=64).train()
    landmarker(torch.rand(2, 3, 64, 64)).stages.square().mean().backward()
    assert [name for name, p in landmarker.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@dataclass
class Case:
    landmarker: Landmarker
    state: dict[str, torch.Tensor]
    output: LandmarkerOutput


def published_state(landmarker: Landmarker) -> dict[str, torch.Tensor]:
    """The published state dict, as far as it is applied, filled by the recipe."""
    state = {}
    for name, value in landmarker.state_dict().items():
        if name in NORMALIZATION:
            continue
        for pattern, replacement in TO_PUBLISHED[type(landmarker)]:  # type: ignore[index]
            name = re.sub(pattern, replacement, name)
        state[name] = fill(name, tuple(value.shape))
    if isinstance(landmarker, STAR):
        state["e2h_transform.weight"] = torch.zeros(68, 9, 1, 1)
    return state


def case(kind: type[HRNet] | type[STAR], path: Path, content: str) -> Case:
    state = published_state(kind())
    wrapped = {"module." + name: value for name, value in state.items()}
    torch.save({content: wrapped, "epoch": 1} if content else wrapped, path)
    landmarker = kind(weights=str(path)).eval()
    if isinstance(landmarker, STAR):
        images = (normalized_images().flip(1) + 1) / 2
    else:
        images = normalized_images() * landmarker.image_std + landmarker.image_mean
    with torch.no_grad():
        return Case(landmarker, state, landmarker(images))


@pytest.fixture(scope="module")
def hrnet(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(HRNet, tmp_path_factory.mktemp("hrnet") / "HR18-300W.pth", "")


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(STAR, tmp_path_factory.mktemp("star") / "300W_STARLoss.pkl", "net")


def test_hrnet_has_the_published_parameters_and_outputs(hrnet: Case) -> None:
    assert sum(p.numel() for p in hrnet.landmarker.parameters()) == 9_654_398
    heatmaps = hrnet.output.heatmaps
    assert heatmaps is not None
    assert heatmaps.mean().item() == pytest.approx(45.952537536621094, rel=1e-4)
    assert heatmaps.std().item() == pytest.approx(285.4468688964844, rel=1e-4)
    expected = torch.tensor([[-58.685249, 15.375757], [-201.857178, -271.883453]])
    torch.testing.assert_close(heatmaps[0, 0, :32:16, :32:16], expected, rtol=1e-4, atol=1e-2)
    assert heatmaps.flatten(2).argmax(-1)[:, :6].tolist() == [
        [107, 21, 45, 2853, 376, 683],
        [85, 22, 41, 2472, 376, 684],
    ]


def test_star_has_the_published_parameters_and_outputs(star: Case) -> None:
    assert sum(p.numel() for p in star.landmarker.parameters()) + UNUSED_BY_STAR == 17_069_572
    expected = torch.tensor(
        [
            [[0.17331, -0.446076], [0.63748, -0.210186], [0.066083, 0.460067]],
            [[-0.821115, 0.804933], [0.365363, 0.09165], [0.398204, -0.21429]],
            [[0.0, 0.0], [0.623773, -0.577275], [0.0, 0.0]],
            [[0.328759, -0.643493], [0.927471, 1.0], [-0.700176, 0.815878]],
        ]
    )
    torch.testing.assert_close(published_positions(star)[0, :, [0, 31, 61]], expected, rtol=0, atol=1e-4)


def published_positions(star: Case) -> torch.Tensor:
    """From crop coordinates to the published program's: -1 and 1 at the crop's edges, half a pixel outside."""
    return (star.output.stages * 256 * 2 + 1) / 256 - 1


@pytest.mark.real
def test_hrnet_equals_all_that_was_written_down(hrnet: Case) -> None:
    facts, heatmaps = golden("hrnet"), hrnet.output.heatmaps
    assert heatmaps is not None
    assert {name: list(value.shape) for name, value in hrnet.state.items()} == facts["keys"]
    assert sum(p.numel() for p in hrnet.landmarker.parameters()) == facts["params"]
    assert heatmaps.flatten(2).argmax(-1).tolist() == facts["argmax"]
    expected = torch.tensor(facts["samples"])
    scale = facts["heatmap_std"]
    assert ((heatmaps[:, ::17, ::16, ::16] - expected).abs().max() / scale).item() < 1e-4


@pytest.mark.real
def test_star_equals_all_that_was_written_down(star: Case) -> None:
    facts = golden("star")
    unused = {
        name: shape
        for name, shape in facts["keys"].items()
        if name not in star.state and not name.startswith("e2h_transform.")
    }
    assert all(".skip_layer." in name for name in unused)
    assert sum(torch.Size(shape).numel() for shape in unused.values()) == UNUSED_BY_STAR
    assert all(list(value.shape) == facts["keys"][name] for name, value in star.state.items())
    assert sum(p.numel() for p in star.landmarker.parameters()) + UNUSED_BY_STAR == facts["params"]
    expected = torch.tensor(facts["per_stack"]).transpose(0, 1)
    torch.testing.assert_close(published_positions(star), expected, rtol=0, atol=1e-4)


@pytest.mark.real
def test_the_whole_published_star_file_is_read(star: Case, tmp_path: Path) -> None:
    """With the tensors that are never applied."""
    keys = golden("star")["keys"]
    torch.save({"net": {name: fill(name, tuple(shape)) for name, shape in keys.items()}}, tmp_path / "star.pkl")
    whole = STAR(weights=str(tmp_path / "star.pkl")).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in star.landmarker.state_dict().items())


@pytest.mark.real
def test_slpt_equals_all_that_was_written_down(tmp_path: Path) -> None:
    """But for the published network's ``feature_norm``, which is created and never applied."""
    facts = golden("slpt")
    torch.save({name: fill(name, tuple(shape)) for name, shape in facts["keys"].items()}, tmp_path / "slpt.pth")
    np.savez(tmp_path / "init_68.npz", init_face=np.array(facts["init_face"]))
    slpt = SLPT(weights=str(tmp_path / "slpt.pth"), mean_face=str(tmp_path / "init_68.npz")).eval()
    assert sum(p.numel() for p in slpt.parameters()) + 512 == facts["params"] == 13_179_020
    with torch.no_grad():
        features = slpt.backbone(normalized_images())
        output = slpt.from_features(features)
    assert output.intermediate is not None
    assert output.intermediate.shape == (2, 3, 6, 68, 2)
    assert features.mean().item() == pytest.approx(facts["feature_map_mean"], abs=1e-5)
    assert features.std().item() == pytest.approx(facts["feature_map_std"], abs=1e-5)
    torch.testing.assert_close(output.stages, torch.tensor(facts["stages"]).transpose(0, 1), atol=1e-5, rtol=0)
