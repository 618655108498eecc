"""``train`` from end to end, on drawn faces and on folders: what it writes, and what it uses again."""

import logging
import math
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml

from datamodules.faces import TrainBatch
from lightning_modules.methods import Stylize
from tests.experiments.conftest import FinishedRun, OwnFolders
from tests.experiments.helpers import TINY, checkpoint, drawn, merged, metrics, rows, run, write_config
from tests.layouts import write_folder
from tests.prediction.drawn import drawn_face, landscape, save

FIGURES = {"nme", "fr@8", "auc@8", "n"}


def test_the_folder_of_a_run(drawn_run: FinishedRun) -> None:
    expected = {
        ".lock",
        "config.yaml",
        "metrics.json",
        "nme.csv",
        "cost.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "pictures/start.png",
        "pictures/epoch001.png",
        "pictures/epoch002.png",
        "csv/version_0/metrics.csv",
    }
    found = {path.relative_to(drawn_run.folder).as_posix() for path in drawn_run.folder.rglob("*") if path.is_file()}
    # Tests that go on with this run (they share it) each leave a CSV log of their own.
    assert {name for name in found if not name.startswith("csv/") or name.startswith("csv/version_0/")} == expected
    assert yaml.safe_load((drawn_run.folder / "config.yaml").read_text())["run"]["setting"] == "da_cariface"
    picture = cv2.imread(str(drawn_run.folder / "pictures/start.png"))
    assert picture is not None
    assert picture.shape[0] > 6 * 192, "six pairs, one a row"
    assert picture.shape[1] > 4 * 192, "photo, stylised face, warped photo, warped photo with landmarks"


def test_metrics_json(drawn_run: FinishedRun) -> None:
    found = metrics(drawn_run.folder)
    assert set(found) == {
        *("setting", "method", "landmarker", "profile", "seed", "data"),
        *("test", "average_nme", "source_only"),
    }
    names = {key: found[key] for key in ("setting", "method", "landmarker", "seed", "data")}
    assert names == {
        "setting": "da_cariface",
        "method": "face_warping",
        "landmarker": "slpt",
        "seed": 0,
        "data": "synthetic",
    }
    assert set(found["source_only"]) == {"test", "average_nme"}
    for scores in (found, found["source_only"]):
        assert {name: figures["n"] for name, figures in scores["test"].items()} == {"photo": 2, "caricature": 3}
        assert all(set(figures) == FIGURES for figures in scores["test"].values())
        mean = (2 * scores["test"]["photo"]["nme"] + 3 * scores["test"]["caricature"]["nme"]) / 5
        assert scores["average_nme"] == pytest.approx(mean, rel=1e-6)
    assert found["average_nme"] != found["source_only"]["average_nme"]


def test_each_epoch_is_recorded_with_its_phase(drawn_run: FinishedRun) -> None:
    table = rows(drawn_run.folder / "nme.csv")
    assert [(row["epoch"], row["phase"], row["subset"]) for row in table] == [
        ("0", "warper", "photo"),
        ("0", "warper", "caricature"),
        ("1", "proximal", "photo"),
        ("1", "proximal", "caricature"),
    ]
    final = metrics(drawn_run.folder)["test"]["caricature"]["nme"]
    assert float(table[-1]["nme"]) == pytest.approx(final, abs=1e-6)
    logged = rows(drawn_run.folder / "csv/version_0/metrics.csv")
    by_epoch = [float(row["val/balanced_nme"]) for row in logged if row["val/balanced_nme"]]
    best = checkpoint(drawn_run.folder / "checkpoints/best.ckpt")
    assert best["epoch"] == by_epoch.index(min(by_epoch))


def test_a_second_run_starts_from_the_same_pretrained_weights(
    drawn_run: FinishedRun, caplog: pytest.LogCaptureFixture
) -> None:
    first = metrics(drawn_run.folder)
    (start,) = drawn_run.runs.glob("pretrained/*/landmarker.ckpt")
    made = start.stat().st_mtime_ns

    run(*drawn_run.command)

    (again,) = drawn_run.runs.glob("pretrained/*/landmarker.ckpt")
    assert (again, again.stat().st_mtime_ns) == (start, made)
    assert metrics(drawn_run.folder) == first, "the same, whether the start was made or found"
    kept = drawn_run.folder.with_name("seed0-earlier1")
    assert metrics(kept) == first
    assert (kept / "checkpoints/best.ckpt").exists()
    assert f"kept the earlier run in {drawn_run.folder} as {kept}" in caplog.text


@pytest.mark.parametrize(
    "change",
    [["--seed=1"], {"data": {"source": [drawn("photo", train=9)]}}, ["--pretraining.learning_rate=0.002"]],
    ids=["seed", "source", "how"],
)
def test_a_pretrained_start_is_not_used_for_another_seed_source_or_recipe(
    drawn_run: FinishedRun, tmp_path: Path, change: object
) -> None:
    before = set(drawn_run.runs.glob("pretrained/*"))
    changed = [write_config(tmp_path / "change.yaml", change)] if isinstance(change, dict) else list(change)  # type: ignore[call-overload]
    run(*drawn_run.command, *changed, "--trainer.max_epochs=1", "--trainer.default_root_dir", f"{tmp_path}/run")
    (made,) = set(drawn_run.runs.glob("pretrained/*")) - before
    assert (made / "landmarker.ckpt").exists()


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_what_is_stopped_leaves_the_weights_and_what_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    """The way back to the start is taken in what is saved of the interrupted step, not in ``last.ckpt``."""
    step = Stylize.training_step

    def interrupted(self: Stylize, batch: TrainBatch, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == (by == "Ctrl-C"):
            if by == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch, batch_idx)

    config = write_config(tmp_path / "tiny.yaml", TINY)
    words = ["train", "--setting=da_cariface", "--method=stylize", config, f"--paths.runs={tmp_path}/runs"]
    words.append("--model.init_args.return_to_start=1.0")
    with monkeypatch.context() as patched:
        patched.setattr(Stylize, "training_step", interrupted)
        with pytest.raises(SystemExit) as exit_:
            run(*words)
    assert exit_.value.code == {"Ctrl-C": 130, "SIGTERM": 143}[by]
    folder = tmp_path / "runs/da_cariface/stylize-slpt/seed0"
    stopped, last = (checkpoint(folder / f"checkpoints/{name}.ckpt") for name in ("interrupted", "last"))
    assert (stopped["global_step"], last["global_step"]) == (3, 2)
    assert all(at_start(stopped)) == (by == "Ctrl-C"), "SIGTERM does not settle them"
    assert not all(at_start(last))
    assert f"stopped by {by}: {folder}/checkpoints/last.ckpt is kept, of the last whole epoch. RESUME=1" in caplog.text
    assert not (folder / "metrics.json").exists()
    run(*words, "--resume")
    assert metrics(folder)["method"] == "stylize"


def at_start(content: dict[str, Any]) -> list[bool]:
    """Whether each of the landmarker's tensors is what it was at the start."""
    state = content["state_dict"]
    names = [name for name in state if name.startswith("start.") and state[name].is_floating_point()]
    return [torch.equal(state[name], state[f"landmarker.{name.removeprefix('start.')}"]) for name in names]


def test_supervised_needs_no_start(tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY, {"trainer": {"max_epochs": 1}, "data": {"target": []}})
    run("train", "--setting=oracle", config, f"--paths.runs={tmp_path}/runs")
    found = metrics(tmp_path / "runs/oracle/supervised-slpt/seed0")
    assert found["source_only"] is None
    assert math.isfinite(found["average_nme"])
    assert not (tmp_path / "runs/pretrained").exists()


def test_own_folders(own_run: FinishedRun, own_folders: OwnFolders) -> None:
    found = metrics(own_run.folder)
    assert (found["setting"], found["data"]) == ("own", "files")
    assert {name: figures["n"] for name, figures in found["test"].items()} == {"own_source": 1, "own": 7}
    assert {row["phase"] for row in rows(own_run.folder / "nme.csv")} == {"joint"}
    pseudo = checkpoint(own_run.folder / "checkpoints/last.ckpt")["pseudo_landmarks"]["landmarks"]
    assert pseudo.shape == (5, 68, 2)
    assert pseudo.isfinite().all()
    assert not any(path.suffix == ".pts" for path in own_folders.target.iterdir()), "the target stays unlabelled"


def test_own_folders_without_labels_to_test_on(
    own_folders: OwnFolders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without TEST, what is labelled in TARGET is tested; an unlabelled TARGET is told of and left out."""
    tiny = merged({key: TINY[key] for key in ("trainer", "pretraining", "model")}, {"trainer": {"max_epochs": 1}})
    arguments = [argument for argument in own_folders.arguments if not argument.startswith("--test=")]
    run("train", *arguments, write_config(tmp_path / "tiny.yaml", tiny), f"--paths.runs={tmp_path}/runs")
    assert set(metrics(tmp_path / "runs/own/face_warping-slpt/seed0")["test"]) == {"own_source"}
    assert "has no labelled faces to score: its subsets are left out" in caplog.text


def test_a_strategy_by_its_class_serves_pretraining_and_run(tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY, {"trainer": {"max_epochs": 1, "accelerator": "auto"}})
    strategy = ["--trainer.strategy=lightning.pytorch.strategies.SingleDeviceStrategy", "--trainer.strategy.device=cpu"]
    run("train", "--setting=da_cariface", config, *strategy, f"--paths.runs={tmp_path}/runs")
    assert metrics(tmp_path / "runs/da_cariface/face_warping-slpt/seed0")["source_only"] is not None


def test_a_target_cropped_to_detected_faces(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        save(tmp_path / f"target/{number}.png", drawn_face(number).image)
    save(tmp_path / "target/view.png", landscape())
    write_folder(tmp_path / "source", 4)
    write_folder(tmp_path / "test", 2)
    tiny = write_config(tmp_path / "tiny.yaml", {key: TINY[key] for key in ("trainer", "pretraining", "model")})
    own = [f"--{name}={tmp_path / name}" for name in ("source", "target", "test")]
    options = ["--data.target_box=detected", "--data.batch_size=2", f"--paths.runs={tmp_path}/runs"]
    with caplog.at_level(logging.INFO):
        run("train", "--setting=own", "--method=face_warping", "--landmarker=slpt", *own, tiny, *options)
    assert "detected box, the whole image for 1 of 4 in which no face was found" in caplog.text
    (table,) = (tmp_path / "runs").rglob("target_boxes.csv")
    found = {Path(row["name"]).name: [float(row[key]) for key in ("x0", "y0", "x1", "y1")] for row in rows(table)}
    assert sorted(found) == ["0.png", "1.png", "2.png"]
    truth = drawn_face(0).landmarks
    assert truth is not None
    assert found["0.png"] == pytest.approx([*truth.min(0), *truth.max(0)], abs=30)
