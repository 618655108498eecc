"""What all tests share: a quiet environment, a tiny landmarker, and the published trees at full counts."""

import os

# Before torch is imported: nothing is sent anywhere, and one thread, so that numbers do not depend on the machine.
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_modules.landmarkers import SLPT
from tests.layouts import write_artiface, write_cariface, write_w300

TINY_LANDMARKER: dict[str, Any] = {
    "image_size": 64,
    "backbone": "mobilenetv3_small_050",
    "pretrained": False,
    "embed_dim": 32,
    "feature_dim": 32,
    "num_layers": 1,
    "num_heads": 2,
    "feedforward_dim": 32,
    "patch_size": 3,
    "dropout": 0.0,
}
"""Arguments of an SLPT that takes milliseconds a step."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: tests share their machine, and sums come out the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same random state, in whatever order they run."""
    torch.manual_seed(0)


@pytest.fixture
def tiny_landmarker_args() -> dict[str, Any]:
    """Arguments of a tiny SLPT, to be changed at will."""
    return dict(TINY_LANDMARKER)


@pytest.fixture
def tiny_landmarker(tiny_landmarker_args: dict[str, Any]) -> SLPT:
    """A tiny SLPT."""
    return SLPT(**tiny_landmarker_args)


@pytest.fixture(scope="session")
def tiny_landmarker_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file, to be laid over a landmarker's, that makes it the tiny SLPT."""
    landmarker = {"class_path": "lightning_modules.landmarkers.SLPT", "init_args": TINY_LANDMARKER}
    path = tmp_path_factory.mktemp("configs") / "tiny_landmarker.yaml"
    # By the machine's cores there may be loader processes, which tests of other things do without.
    few = {"model": {"init_args": {"landmarker": landmarker}}, "data": {"num_workers": 0}}
    path.write_text(yaml.safe_dump(few))
    return path


@pytest.fixture(scope="session")
def published_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300W, CariFace (without lists) and ArtiFace (with lists) at their published counts; 16-pixel images.

    Read only: a test that changes a file copies what it needs.
    """
    root = tmp_path_factory.mktemp("published")
    write_w300(root / "300W", full_counts=True)
    write_cariface(root / "CariFace_dataset", lists=(), full_counts=True)
    write_artiface(root / "AF_dataset", full_counts=True)
    return root
