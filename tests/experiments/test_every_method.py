"""Every method of the catalogue with an average of weights, exact resume, bf16 and two processes.

A method that a file in configs/methods adds is tested with it. What a tiny run of it needs beside goes into `NEEDS`.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from datamodules import loading
from datamodules.datasets import SyntheticDataModule
from experiments.catalogue import CONFIGS, names
from experiments.checkpoints import load_landmarker
from experiments.scoring import score
from tests.experiments.artifacts.test_translators import TRANSLATORS
from tests.experiments.helpers import (
    PHASES,
    RESUMING,
    TINY,
    checkpoint,
    differences,
    fit_files,
    learned,
    merged,
    metrics,
    rows,
    run,
    write_config,
)
from tests.experiments.processes.two_processes import run_on_two_processes

pytestmark = RESUMING

METHODS = names("method")
NEEDS: dict[str, dict[str, Any]] = {"face_warping": PHASES, "cyclegan": TRANSLATORS, "bdl": TRANSLATORS}
PLAIN_DDP = ("face_warping", "fda", "self_training", "stylize", "supervised")
"""Methods whose every step has every parameter on its graph; the others let ddp look for those that have not."""

EMA = f"--config={CONFIGS / 'ema.yaml'}"

_CALLBACKS = "lightning.pytorch.callbacks"
# Without pictures and logs, which take most of a tiny run's time.
BARE = {
    "trainer": {
        "logger": False,
        "enable_progress_bar": False,
        "callbacks": [
            {"class_path": "callbacks.exact_resume.ExactResume"},
            {
                "class_path": f"{_CALLBACKS}.ModelCheckpoint",
                "init_args": {"filename": "last", "save_on_train_epoch_end": True, "enable_version_counter": False},
            },
        ],
    }
}


class Shared(NamedTuple):
    """What all runs use again: ``runs`` with the start and the translators, and a folder of configurations."""

    runs: Path
    configs: Path

    def options(self, method: str, folder: Path, *layers: dict[str, Any]) -> list[str]:
        """Options of ``train`` and ``fit`` for a tiny run of a method into ``folder``."""
        name = f"{method}-{len(list(self.configs.iterdir()))}.yaml"
        where = {"trainer": {"default_root_dir": str(folder)}, "paths": {"runs": str(self.runs)}}
        dirpath = {"init_args": {"dirpath": str(folder / "checkpoints")}}
        bare = merged(BARE)
        bare["trainer"]["callbacks"][1] = merged(bare["trainer"]["callbacks"][1], dirpath)
        return [write_config(self.configs / name, TINY, NEEDS.get(method, {}), bare, where, *layers)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    top = tmp_path_factory.mktemp("every_method")
    (top / "configs").mkdir()
    return Shared(top / "runs", top / "configs")


def train(method: str, *options: str) -> list[str]:
    return ["train", "--setting=da_cariface", f"--method={method}", *options]


def fit(method: str, *options: str) -> list[str]:
    return ["fit", *fit_files(method), *options]


def every_step(folder: Path) -> dict[str, Any]:
    """A third callback, which saves a checkpoint after every step."""
    arguments = {"dirpath": str(folder), "filename": "{step}", "save_top_k": -1, "every_n_train_steps": 1}
    return {"class_path": f"{_CALLBACKS}.ModelCheckpoint", "init_args": {**arguments, "auto_insert_metric_name": False}}


def everything(path: Path) -> dict[str, Any]:
    """What a checkpoint knows of a run, the weights that were averaged included."""
    content = checkpoint(path)
    averaging = {name: content.get(name) for name in ("current_model_state", "averaging_state")}
    return {**learned(path), **averaging}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_an_average_of_weights_and_a_resumed_run(tmp_path: Path, shared: Shared, method: str) -> None:
    """The average is tested and saved; gone on with in the middle of an epoch, the run ends as it would have."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    steps = {"trainer": {"callbacks+": [every_step(tmp_path / "steps")]}}
    run(*train(method, *shared.options(method, whole), EMA, _layer(shared, steps)))

    last = whole / "checkpoints/last.ckpt"
    found = checkpoint(last)
    changed = list(differences(found["state_dict"], found["current_model_state"]))
    assert any(name.startswith("/landmarker.") for name in changed), "the average lags behind the weights"
    drawn = SyntheticDataModule("caricature", 8, 3, "caricature", size=64).test_faces()
    scores = score(load_landmarker(last), [loading.TestSet(drawn, drawn.subsets())])
    assert scores.as_dict()["test"]["caricature"] == pytest.approx(metrics(whole)["test"]["caricature"], rel=1e-5)

    third = sorted((tmp_path / "steps").glob("*.ckpt"), key=lambda path: int(path.stem))[2]
    run(*fit(method, *shared.options(method, again), EMA, f"--ckpt_path={third}"))
    assert list(differences(everything(again / "checkpoints/last.ckpt"), everything(last))) == []


def _layer(shared: Shared, layer: dict[str, Any]) -> str:
    return write_config(shared.configs / f"layer-{len(list(shared.configs.iterdir()))}.yaml", layer)


@pytest.mark.parametrize("method", METHODS)
def test_bf16(tmp_path: Path, shared: Shared, method: str) -> None:
    """Products are rounded; weights, optimizers and figures are not."""
    run(*train(method, *shared.options(method, tmp_path), "--trainer.precision=bf16-mixed"))
    found = checkpoint(tmp_path / "checkpoints/last.ckpt")
    for name, value in found["state_dict"].items():
        if not isinstance(value, torch.Tensor):
            continue  # what is not learned, e.g. an image pool's state
        assert value.isfinite().all(), name
        assert value.dtype in (torch.float32, torch.float64, torch.int64), name
    scores = metrics(tmp_path)
    if scores["source_only"] is not None:
        assert scores["average_nme"] != scores["source_only"]["average_nme"], "it has learned"
    # Every parameter of the landmarker's has a state in an optimizer, i.e. had a gradient.
    moments = [state for optimizer in found["optimizer_states"] for state in optimizer["state"].values()]
    assert len(moments) >= sum(1 for _ in load_landmarker(tmp_path / "checkpoints/last.ckpt").parameters())
    assert all(state["exp_avg"].dtype == torch.float32 for state in moments)


@pytest.mark.parametrize("method", METHODS)
def test_two_processes(tmp_path: Path, shared: Shared, method: str) -> None:
    ranks = on_two(train(method, *shared.options(method, tmp_path, two(method)), report(shared)), tmp_path)
    assert ranks[0] == ranks[1]
    assert {name: figure["n"] for name, figure in ranks[0]["scores"].items()} == {"photo": 2, "caricature": 3}


def two(method: str) -> dict[str, Any]:
    """What lets a run go on two processes."""
    strategy = "ddp" if method in PLAIN_DDP else "ddp_find_unused_parameters_true"
    return {"data": {"batch_size": 2}, "trainer": {"strategy": strategy}}


def report(shared: Shared) -> str:
    """A configuration in which both processes tell what they have at the end of a run."""
    return _layer(shared, {"trainer": {"callbacks+": [{"class_path": "tests.experiments.processes.ranks.RankReport"}]}})


def on_two(command: list[str], folder: Path) -> list[dict[str, Any]]:
    """Run a command on two processes, which must draw differently; returns what each had in the end."""
    run_on_two_processes(command)
    ranks = [json.loads((folder / f"ranks/{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0].pop("seed") != ranks[1].pop("seed")
    return ranks


LEARNED_FIELD = {
    "model": {
        "init_args": {
            "warper": {
                "class_path": "lightning_modules.warping.WarperObjective",
                "init_args": {"learned": {"class_path": "lightning_modules.warping.LearnedField"}},
            }
        }
    }
}


@pytest.mark.slow
@pytest.mark.parametrize("optimization", ["alternating", "joint"])
def test_two_processes_with_a_learned_field_go_on_where_they_stopped(
    tmp_path: Path, shared: Shared, optimization: str
) -> None:
    """γ has parameters of its own, which only some steps move; both processes end with the same."""
    method, folders = "face_warping", [tmp_path / name for name in ("whole", "again")]
    layers = [two(method), LEARNED_FIELD, {"model": {"init_args": {"optimization": optimization}}}]
    commands = [fit(method, *shared.options(method, folder, *layers), report(shared)) for folder in folders]
    saved = _layer(shared, {"trainer": {"callbacks+": [every_step(tmp_path / "steps")]}})
    whole = on_two([*commands[0], saved], folders[0])
    third = sorted((tmp_path / "steps").glob("*.ckpt"), key=lambda path: int(path.stem))[2]
    state = checkpoint(third)["state_dict"]
    assert any(name.startswith("warper.learned") for name in state)
    again = on_two([*commands[1], f"--ckpt_path={third}"], folders[1])
    assert whole[0] == whole[1]
    assert again[0] == again[1]
    assert whole[0] == again[0]
    last = "checkpoints/last.ckpt"
    assert list(differences(learned(folders[1] / last), learned(folders[0] / last))) == []


def test_resuming_a_finished_run_tests_the_average_again(tmp_path: Path, shared: Shared) -> None:
    """With the callbacks of every run, and the average asked for as `make train EMA=1` does."""
    command = train("stylize", "--ema", write_config(tmp_path / "tiny.yaml", TINY), f"--paths.runs={shared.runs}")
    run(*command)
    folder = shared.runs / "da_cariface/stylize-slpt/seed0"
    before, last = metrics(folder), everything(folder / "checkpoints/last.ckpt")
    assert last["averaging_state"] is not None
    assert rows(folder / "nme.csv")[-1]["nme"] == f"{before['test']['caricature']['nme']:.6f}"
    run(*command, "--resume")
    assert metrics(folder) == before
    assert list(differences(everything(folder / "checkpoints/last.ckpt"), last)) == []
