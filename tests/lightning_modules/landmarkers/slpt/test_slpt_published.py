"""Our SLPT against numbers computed with the published program (kept outside the repository)."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers import SLPT
from tests.lightning_modules.landmarkers import published
from tests.lightning_modules.landmarkers.published import fill, normalized_images

GOLDEN = published.GOLDEN / "slpt.json"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is absent")]

UNUSED_PARAMETERS = 512
"""The published network's ``feature_norm``, created and never applied; ours has none (plain DDP would stop at it)."""


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
    with torch.no_grad():
        features = slpt.backbone(normalized_images())
        output = slpt.from_features(features)
    assert output.intermediate is not None
    assert output.intermediate.shape == (2, 3, 6, 68, 2)
    assert features.mean().item() == pytest.approx(golden["feature_map_mean"], abs=1e-5)
    assert features.std().item() == pytest.approx(golden["feature_map_std"], abs=1e-5)
    expected = torch.tensor(golden["stages"]).transpose(0, 1)
    torch.testing.assert_close(output.stages, expected, atol=1e-5, rtol=0)
