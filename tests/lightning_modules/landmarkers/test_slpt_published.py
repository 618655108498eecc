"""Our SLPT against numbers computed with the published program (kept outside the repository)."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers import SLPT

GOLDEN = Path(__file__).parents[4] / "shared" / "golden" / "slpt.json"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is absent")]

UNUSED_PARAMETERS = 512
"""The published network's ``feature_norm``, created and never applied; ours has none (plain DDP would stop at it)."""


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The values the published network had when its outputs were written down."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.05 * values
    else:
        values *= 0.02 if len(shape) <= 1 else np.sqrt(1 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text())
    return content


@pytest.fixture(scope="module")
def slpt(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> SLPT:
    folder = tmp_path_factory.mktemp("published")
    torch.save({name: fill(name, tuple(shape)) for name, shape in golden["keys"].items()}, folder / "slpt.pth")
    np.savez(folder / "init_68.npz", init_face=np.array(golden["init_face"]))
    return SLPT(weights=str(folder / "slpt.pth"), mean_face=str(folder / "init_68.npz")).eval()


def test_it_has_the_published_parameters(slpt: SLPT, golden: dict[str, Any]) -> None:
    assert sum(p.numel() for p in slpt.parameters()) + UNUSED_PARAMETERS == golden["params"] == 13_179_020


def test_it_computes_what_the_published_program_computes(slpt: SLPT, golden: dict[str, Any]) -> None:
    generator = np.random.RandomState(0)
    images = torch.from_numpy(generator.uniform(-1, 1, (2, 3, 256, 256)).astype(np.float32))
    with torch.no_grad():
        features = slpt.backbone(images)
        output = slpt.refine(features)
    assert output.intermediate is not None
    assert output.intermediate.shape == (2, 3, 6, 68, 2)
    assert features.mean().item() == pytest.approx(golden["feature_map_mean"], abs=1e-5)
    assert features.std().item() == pytest.approx(golden["feature_map_std"], abs=1e-5)
    expected = torch.tensor(golden["stages"]).transpose(0, 1)
    torch.testing.assert_close(output.stages, expected, atol=1e-5, rtol=0)
