"""Whole tiny runs of the methods with discriminators, and that two methods have the same translators."""

import math
from pathlib import Path

import pytest
import yaml

from experiments.catalogue import config_files
from tests.experiments.artifacts.test_translators import TRANSLATORS
from tests.experiments.helpers import TINY, checkpoint, merged, metrics, rows, run, write_config

THREE_EPOCHS = {"trainer": {"max_epochs": 3}}
OF = {"revgrad": {"classifier"}, "adaptsegnet": {"discriminators"}, "bdl": {"discriminators", "translator", "pools"}}
"""What a checkpoint holds beside the landmarker."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them are written, so that they share their pretrained start."""
    return tmp_path_factory.mktemp("adversarial") / "runs"


@pytest.mark.parametrize("method", OF)
def test_a_whole_run(method: str, runs: Path, tmp_path: Path) -> None:
    layers = [TINY, THREE_EPOCHS, TRANSLATORS] if method == "bdl" else [TINY]
    run(
        "train",
        "--setting=da_cariface",
        f"--method={method}",
        write_config(tmp_path / "tiny.yaml", *layers),
        f"--paths.runs={runs}",
    )
    folder = runs / f"da_cariface/{method}-slpt/seed0"
    found = metrics(folder)
    assert found["method"] == method
    assert math.isfinite(found["average_nme"])
    assert found["average_nme"] != found["source_only"]["average_nme"]
    state = checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    assert {name.split(".")[0] for name in state} == {"landmarker", *OF[method]}
    phases = list(dict.fromkeys(row["phase"] for row in rows(folder / "nme.csv")))
    assert phases == (["translation", "adaptation", "self_training"] if method == "bdl" else ["train"])


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_bdl_begins_with_cyclegans_translators(profile: str) -> None:
    """The translators' folder is named after these: trained for one method, they are there for the other."""
    both = []
    for method in ("cyclegan", "bdl"):
        files = config_files("da_cariface", method, "slpt", profile)
        config = merged(*(yaml.safe_load(path.read_text()) for path in files))
        both.append((config["translation"], config["model"]["init_args"]["translator"]))
    assert both[0] == both[1]
