"""Whole commands on what is not finite: runs that diverge, starts that did, predictions that are no numbers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.checkpoints import load_landmarker
from experiments.commands import evaluate as command
from experiments.values.plain_json import as_json
from lightning_modules.landmarkers import Landmarker, LandmarkerOutput
from lightning_modules.metrics import FAILED
from tests.experiments.conftest import FinishedRun, OwnFolders
from tests.experiments.helpers import PHASES, RESUMING, TINY, checkpoint, metrics, refused, rows, run, write_config

pytestmark = RESUMING
HOT = ("--model.init_args.warper_learning_rate=1e18", "--model.init_args.proximal_learning_rate=1e18")
RUN = Path("da_cariface/face_warping-slpt/seed0")


def test_a_diverging_run_ends_with_one_message_and_can_be_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first epoch is healthy; the second one's learning rate is not."""
    words = ["train", "--setting=da_cariface", write_config(tmp_path / "tiny.yaml", TINY, PHASES)]
    words += [f"--paths.runs={tmp_path}/runs"]
    message = refused(capsys, *words, HOT[1], "--trainer.max_epochs=4")
    errors = [line for line in message.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "error: the training is no longer finite: the loss is" in errors[0]
    assert "(epoch 2, proximal phase), learning rate" in errors[0]
    folder = tmp_path / "runs" / RUN
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert checkpoint(folder / "checkpoints/last.ckpt")["epoch"] == 0
    assert not (folder / "metrics.json").exists()

    run(*words, "--trainer.max_epochs=2", "--resume")
    assert math.isfinite(metrics(folder)["average_nme"])


def test_a_diverging_start_is_not_kept_and_one_that_did_is_refused(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--setting=da_cariface", write_config(tmp_path / "tiny.yaml", TINY, PHASES)]
    words += [f"--paths.runs={tmp_path}/runs"]
    hot = ("--pretraining.learning_rate=1e30", "--pretraining.gradient_clip_norm=null", "--pretraining.max_epochs=4")
    assert "(epoch 1, pretraining phase), learning rate" in refused(capsys, *words, *hot)
    assert list((tmp_path / "runs").rglob("landmarker.ckpt")) == []

    spoilt = checkpoint(next(drawn_run.runs.glob("pretrained/*/landmarker.ckpt")))
    next(iter(spoilt["state_dict"].values())).view(-1)[0] = torch.nan
    torch.save(spoilt, tmp_path / "start.ckpt")
    expected = f"{tmp_path}/start.ckpt: the tensor state_dict.landmarker."
    assert expected in refused(capsys, *words, f"--pretraining.checkpoint={tmp_path}/start.ckpt")
    assert expected in refused(capsys, "evaluate", f"--ckpt={tmp_path}/start.ckpt", f"--test={tmp_path}")
    assert expected in refused(capsys, "export", f"--ckpt={tmp_path}/start.ckpt", f"--out={tmp_path}/a.onnx")


class Lost(Landmarker):
    """A landmarker that finds no numbers on the first face of each batch."""

    def __init__(self, known: Landmarker) -> None:
        super().__init__()
        self.known, self.image_size = known, known.image_size

    def forward(self, images: Tensor) -> LandmarkerOutput:
        stages = self.known(images).stages.clone()
        stages[0] = torch.nan
        return LandmarkerOutput(stages)

    def loss(self, *args: Any) -> Tensor:
        raise NotImplementedError


def test_faces_without_a_finite_prediction_count_as_failed_and_are_named(
    own_run: FinishedRun,
    own_folders: OwnFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(command, "load_landmarker", lambda path: Lost(load_landmarker(path)).eval())
    out, weights = tmp_path / "scores.json", own_run.folder / "checkpoints/last.ckpt"
    run("evaluate", f"--ckpt={weights}", f"--test={own_folders.test}", f"--out={out}")
    found = json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    scores, first = found["test"]["own"], rows(tmp_path / "scores.faces.csv")[0]
    assert scores["failed"] == 1
    assert scores["n"] == 7
    assert float(first["nme"]) == FAILED
    assert scores["nme"] == pytest.approx(found["average_nme"])
    assert scores["fr@8"] >= 14
    assert "of 1 of 7 faces the error is not finite: the prediction is not" in caplog.text
    assert first["path"] in caplog.text


def test_json_has_no_nan() -> None:
    content = {"nme": math.nan, "each": [1.0, math.inf, {"n": 2, "name": "a", "none": None}], "yes": True}
    assert json.loads(as_json(content)) == {"nme": None, "each": [1.0, None, content["each"][2]], "yes": True}  # type: ignore[index]
