"""Runs that are stopped at any point end as ones that never were, bit for bit.

Dropout, exaggeration and a learning rate that falls from step to step are on, so that a random number drawn once too
often, or a step counted twice, shows in the weights.
"""

from pathlib import Path

import pytest

from lightning_modules.methods import FaceWarping, Supervised
from tests.experiments.helpers import (
    RESUMING,
    TINY,
    checkpoint,
    differences,
    fit_files,
    learned,
    metrics,
    rows,
    run,
    write_config,
)
from tests.experiments.processes.killing import run_and_kill

pytestmark = RESUMING

FOUR_EPOCHS = {
    "trainer": {"max_epochs": 4},
    "pretraining": {"max_epochs": 3},
    "model": {
        "init_args": {
            "warper_epochs": 2,
            "proximal_epochs": 2,
            "schedule": "cosine",
            "exaggeration": {"part_scale": 0.1},
            "exaggerated_share": 0.5,
            "gradient_clip_norm": 1.0,
        }
    },
}
RUN = Path("da_cariface/face_warping-slpt/seed0")
EVERY_STEP = (
    "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint",
    "--trainer.callbacks.filename={step}",
    "--trainer.callbacks.save_top_k=-1",
    "--trainer.callbacks.every_n_train_steps=1",
    "--trainer.callbacks.auto_insert_metric_name=false",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def command(folder: Path) -> list[str]:
    return ["train", "--setting=da_cariface", write_config(folder / "tiny.yaml", TINY, FOUR_EPOCHS)]


@pytest.fixture(scope="module")
def reference(folder: Path, command: list[str]) -> Path:
    """The ``runs`` of a run that was never interrupted; it also saved a checkpoint after every step."""
    runs = folder / "uninterrupted"
    run(*command, f"--paths.runs={runs}", *EVERY_STEP, f"--trainer.callbacks.dirpath={folder}/steps")
    return runs


@pytest.mark.parametrize(("phase", "epoch", "batch"), [("warper", 1, 0), ("proximal", 3, 1)])
def test_a_killed_run_goes_on_to_the_same_end(
    tmp_path: Path, reference: Path, command: list[str], phase: str, epoch: int, batch: int
) -> None:
    runs = tmp_path / "runs"
    run_and_kill([*command, f"--paths.runs={runs}"], FaceWarping, epoch, batch)
    last = runs / RUN / "checkpoints/last.ckpt"
    assert checkpoint(last)["epoch"] == epoch - 1
    assert not (runs / RUN / "metrics.json").exists()
    assert rows(runs / RUN / "nme.csv")[-1]["phase"] == phase

    run(*command, f"--paths.runs={runs}", "--resume")

    assert list(differences(learned(last), learned(reference / RUN / "checkpoints/last.ckpt"))) == []
    assert metrics(runs / RUN) == metrics(reference / RUN)
    assert rows(runs / RUN / "nme.csv") == rows(reference / RUN / "nme.csv")
    assert [p.name for p in sorted((runs / RUN).parent.iterdir())] == ["seed0"]


def test_a_killed_pretraining_goes_on_from_its_last_epoch(
    tmp_path: Path, reference: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    run_and_kill([*command, f"--paths.runs={runs}"], Supervised, epoch=1, batch=1)
    assert not list(runs.glob("pretrained/*/landmarker.ckpt"))
    steps = []
    start_step = Supervised.on_train_batch_start
    monkeypatch.setattr(Supervised, "on_train_batch_start", lambda *args: steps.append(start_step(*args)))

    run(*command, f"--paths.runs={runs}", "--trainer.max_epochs=1")

    assert len(steps) == 2 * 2, "two epochs of two steps were left"
    start, expected = (next(folder.glob("pretrained/*/landmarker.ckpt")) for folder in (runs, reference))
    assert start.parent.name == expected.parent.name
    assert list(differences(checkpoint(start)["state_dict"], checkpoint(expected)["state_dict"])) == []
    assert metrics(runs / RUN)["source_only"] == metrics(reference / RUN)["source_only"]


@pytest.mark.parametrize(
    "step", [1, 4, 5], ids=["in a warper epoch", "as the warper phase ends", "in a proximal epoch"]
)
def test_a_checkpoint_of_any_step_can_be_gone_on_from(tmp_path: Path, reference: Path, folder: Path, step: int) -> None:
    """Not only those of whole epochs: a batch depends on seed and step alone."""
    runs = tmp_path / "runs"
    path = folder / f"steps/{step}.ckpt"
    assert checkpoint(path)["global_step"] == step

    run(
        "fit", *fit_files("face_warping"), f"--config={folder}/tiny.yaml", f"--paths.runs={runs}", f"--ckpt_path={path}"
    )

    last = "checkpoints/last.ckpt"
    assert list(differences(learned(runs / RUN / last), learned(reference / RUN / last))) == []


def test_resume_without_an_earlier_run_starts_one(
    tmp_path: Path, command: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run(*command, f"--paths.runs={tmp_path}", "--resume", "--trainer.max_epochs=1", "--pretraining.max_epochs=1")
    assert "does not exist: starting from the beginning" in caplog.text
    assert checkpoint(tmp_path / RUN / "checkpoints/last.ckpt")["epoch"] == 0


def test_resuming_a_finished_run_changes_nothing(reference: Path, command: list[str]) -> None:
    last = reference / RUN / "checkpoints/last.ckpt"
    before, figures, table = learned(last), metrics(reference / RUN), rows(reference / RUN / "nme.csv")
    run(*command, f"--paths.runs={reference}", "--resume")
    assert list(differences(learned(last), before)) == []
    assert metrics(reference / RUN) == figures
    assert rows(reference / RUN / "nme.csv") == table
