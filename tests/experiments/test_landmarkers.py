"""Every shipped landmarker through the command line, with labels alone and by warping, in its light form."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from experiments.catalogue import CONFIGS, names
from experiments.checkpoints import load_landmarker
from tests.experiments.helpers import TINY, checkpoint, merged, metrics, refused, run

SMALLER: dict[str, dict[str, Any]] = {"star": {"channels": 16, "levels": 2}}
"""What makes the light forms lighter still."""


def small(name: str) -> dict[str, Any]:
    """The landmarker's own light form on crops of 64 pixels, from random weights (ImageNet's take a second to read)."""
    light = yaml.safe_load((CONFIGS / "landmarkers" / f"{name}.quick.yaml").read_text())
    arguments = light["model"]["init_args"]["landmarker"]["init_args"]
    changes = {
        "image_size": 64,
        **({"pretrained": False} if "pretrained" in arguments else {}),
        **SMALLER.get(name, {}),
    }
    return {"model": {"init_args": {"landmarker": {"init_args": changes}}}}


def train(folder: Path, name: str, method: str, *layers: dict[str, Any]) -> Path:
    tiny = merged(TINY)
    del tiny["model"]
    (folder / "c.yaml").write_text(yaml.safe_dump(merged(tiny, small(name), {"paths": {"runs": str(folder)}}, *layers)))
    options = [f"--method={method}", f"--landmarker={name}", f"--config={folder / 'c.yaml'}"]
    run("train", "--setting=da_cariface", *options)
    return folder / f"da_cariface/{method}-{name}/seed0"


def first_layer(path: Path) -> torch.Tensor:
    state: dict[str, torch.Tensor] = checkpoint(path)["state_dict"]
    return next(value for key, value in state.items() if key.startswith("landmarker.") and key.endswith("weight"))


@pytest.mark.parametrize("name", names("landmarker"))
class TestEveryLandmarker:
    def test_learns_from_labels(self, tmp_path: Path, name: str) -> None:
        folder = train(tmp_path, name, "supervised")
        found = metrics(folder)
        assert found["landmarker"] == name
        assert set(found["test"]) == {"photo", "caricature"}
        last = checkpoint(folder / "checkpoints/last.ckpt")
        assert last["landmarker"]["class_path"].startswith("lightning_modules.landmarkers.")
        moments = last["optimizer_states"][0]["state"]
        assert len(moments) > 10
        assert all(bool(m["exp_avg"].isfinite().all()) for m in moments.values())
        assert moments[0]["exp_avg"].abs().sum() > 0

    def test_learns_from_the_warp_alone(self, tmp_path: Path, name: str) -> None:
        """Nothing but the image term, so what moves the first layer has come through the warp."""
        terms = {"warper_epochs": 2, "proximal_epochs": 0, "anchor_weight": 0.0, "warper_learning_rate": 1e-3}
        folder = train(tmp_path, name, "face_warping", {"model": {"init_args": terms}})
        (start,) = (tmp_path / "pretrained").glob("*/landmarker.ckpt")
        moved = (first_layer(folder / "checkpoints/last.ckpt") - first_layer(start)).abs().max()
        assert moved.isfinite()
        assert moved > 0


def test_first_layers_are_not_kept_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kept layers must have been learned; what a checkpoint or ImageNet's weights bring is."""
    frozen = {"init_args": {"image_size": 64, "frozen_stride": 4, "pretrained": False}}
    tiny = merged(TINY)
    del tiny["model"]
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(merged(tiny, {"model": {"init_args": {"landmarker": frozen}}})))
    command = ["train", "--setting=da_cariface", "--method=supervised", "--landmarker=integral"]
    command += [f"--config={config}", f"--paths.runs={tmp_path}", "--trainer.max_epochs=1"]
    message = refused(capsys, *command)
    assert "tensors that are not trained, and neither pretrained weights nor a start" in message
    assert "frozen_stride=0" in message
    run(*command, "--model.init_args.landmarker.init_args.pretrained=package")
    last = tmp_path / "da_cariface/supervised-integral/seed0/checkpoints/last.ckpt"
    assert any(not parameter.requires_grad for parameter in load_landmarker(last).parameters())
    start = tmp_path / "start.ckpt"
    shutil.copy(last, start)
    run(*command, f"--model.init_args.landmarker.init_args.weights={start}")
    command[2] = "--method=stylize"
    run(*command, f"--pretraining.checkpoint={start}")
