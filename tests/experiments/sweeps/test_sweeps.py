"""Sweep files, as the W&B agent turns them into commands, and logging to W&B. Nothing leaves the machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb.wandb_agent
import yaml

from experiments.catalogue import CONFIGS, names
from experiments.grids.executors import agents
from experiments.sweeps.sweep import read_sweep
from tests.experiments.conftest import FinishedRun
from tests.experiments.grids.test_grid import ROWS, write
from tests.experiments.helpers import TINY, checkpoint, metrics, rows, run, write_config

pytestmark = [
    # wandb leaves it to the garbage collector to close the file with a trial's parameters.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

ROOT = CONFIGS.parent
SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))
ONE_STEP = {"trainer": {"max_epochs": 1, "limit_train_batches": 1}, "data": {"tests": TINY["data"]["tests"][1:]}}


def lowest(parameter: dict[str, Any]) -> Any:
    return parameter["values"][0] if "values" in parameter else parameter["min"]


def highest(parameter: dict[str, Any]) -> Any:
    return parameter["values"][-1] if "values" in parameter else parameter["max"]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a trial: W&B's own agent makes the command, in which small data and networks are then laid over."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_RUN_ID", "set by the agent")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "set by the agent")
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
            started.append(command)

    monkeypatch.setattr(wandb.wandb_agent, "AgentProcess", Process)
    agent = wandb.wandb_agent.Agent(api=None, queue=None, sweep_id="sweep")
    monkeypatch.chdir(ROOT)

    def start(file: Path, pick: Callable[[dict[str, Any]], Any], run_id: str) -> None:
        sweep = yaml.safe_load(file.read_text())
        # One list for all trials, as in the agent, which changes it in place.
        agent._sweep_command = agent._sweep_command or sweep["command"]
        sampled = {name: {"value": pick(parameter)} for name, parameter in sweep["parameters"].items()}
        is_grid = "grid" in sweep["command"]
        agent._command_run({"run_id": run_id, "program": sweep["program"], "args": sampled})
        environment, interpreter, flag, program, *arguments = started[-1]
        assert [environment, interpreter, flag, program] == ["/usr/bin/env", "python", "-m", sweep["program"]]
        assert os.environ["WANDB_RUN_ID"] == run_id
        small = write_config(tmp_path / "small.yaml", TINY, ONE_STEP)
        run(*arguments, *([] if is_grid else [small, f"--paths.runs={tmp_path}/runs"]))
        wandb.finish()
        wandb.teardown()

    return start


def test_there_is_a_sweep_for_each_phase() -> None:
    assert {file.stem for file in SWEEPS} == {"warper", "proximal", "joint", "stylize"} == set(names("sweep"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_nothing_is_chosen_on_paintings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WANDB_RUN_ID", "trial")
    command = read_sweep(file.stem)
    fit, *words = command.words
    assert fit == "fit"
    layers = [
        yaml.safe_load((ROOT / word.removeprefix("--config=")).read_text())
        for word in words
        if "=configs" in word or "=exp" in word
    ]
    assert [layer["run"]["setting"] for layer in layers if "setting" in layer.get("run", {})] == ["gzsl_artiface"]
    tests = [test["class_path"] for layer in layers for test in layer.get("data", {}).get("tests", [])]
    assert [name.rsplit(".", 1)[1] for name in tests[-2:]] == ["W300DataModule", "CariFaceDataModule"]
    assert "tests" in layers[-1]["data"], "nothing is laid over them"


@pytest.mark.slow
@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_trials_of_a_sweep(tmp_path: Path, trial: Callable[..., None], file: Path) -> None:
    trial(file, lowest, "trial1")
    trial(file, highest, "trial2")
    folders = [tmp_path / f"runs/sweeps/{file.stem}/trial{number}" for number in (1, 2)]
    for folder, pick in zip(folders, (lowest, highest), strict=True):
        assert checkpoint(folder / "checkpoints/last.ckpt")["global_step"] == 1
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for name, parameter in yaml.safe_load(file.read_text())["parameters"].items():
            assert value_of(config, name) == pick(parameter)
    assert len(list(tmp_path.glob("runs/pretrained/*/landmarker.ckpt"))) == 1, "the start is shared"


def value_of(config: Any, name: str) -> Any:
    """What a configuration has under a dotted name; of an object, its class path."""
    for key in name.split("."):
        config = config[key]
    return config["class_path"] if isinstance(config, dict) and "class_path" in config else config


def test_agents_pick_the_cells_of_a_grid(
    tmp_path: Path, trial: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"epochs": 1, "steps_per_epoch": 1}
    file = write(tmp_path / "some.yaml", rows={"on, alone": ROWS["on, alone"]}, seeds=[3, 4], budget=budget)
    run("grid", str(file), f"--out={tmp_path}/out", f"--as_sweep={tmp_path}/sweep.yaml")
    sweep = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert (sweep["method"], sweep["parameters"]) == (
        "grid",
        {"cells": {"values": ["on_alone-seed3", "on_alone-seed4"]}},
    )
    monkeypatch.setenv("WANDB_SWEEP_ID", "set by the agent")
    told: dict[str, Any] = {}
    monkeypatch.setattr("experiments.grids.work.tell_agent", told.__setitem__)
    trial(tmp_path / "sweep.yaml", highest, "trial1")
    assert [path.parent.name for path in tmp_path.glob("out/*/metrics.json")] == ["on_alone-seed4"]
    assert told == {"on_alone-seed4": metrics(tmp_path / "out/on_alone-seed4")}
    assert not (tmp_path / "out/table.md").exists()
    # An agent of the same cell finds it done.
    before = (tmp_path / "out/on_alone-seed4/metrics.json").stat().st_mtime_ns
    trial(tmp_path / "sweep.yaml", highest, "trial2")
    assert (tmp_path / "out/on_alone-seed4/metrics.json").stat().st_mtime_ns == before


def test_a_cell_tells_its_scores_to_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []

    class Run:
        def __init__(self, **options: Any) -> None:
            self.summary: dict[str, Any] = {}
            runs.append((options, self.summary))

        def __enter__(self) -> "Run":
            return self

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr("wandb.init", Run)
    agents.tell_agent("cell", {"test": {"photo": {"nme": 3.0, "n": 5}}, "average_nme": 4.0})
    scores = {"test/photo/nme": 3.0, "test/photo/n": 5, "average_nme": 4.0}
    assert runs == [({"project": "warpmark", "name": "cell"}, scores)]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_what_a_sweep_minimises_is_logged(drawn_run: FinishedRun, file: Path) -> None:
    metric = yaml.safe_load(file.read_text())["metric"]
    assert metric["goal"] == "minimize"
    assert metric["name"] in rows(drawn_run.folder / "csv/version_0/metrics.csv")[0]


def test_logging_to_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = write_config(tmp_path / "tiny.yaml", TINY, {"trainer": {"max_epochs": 1}})
    run("train", "--setting=da_cariface", "--wandb", config, f"--paths.runs={tmp_path}/runs")
    wandb.finish()
    wandb.teardown()
    folder = tmp_path / "runs/da_cariface/face_warping-slpt/seed0"
    (offline,) = folder.glob("wandb/offline-run-*")
    assert list(offline.glob("*.wandb")), "the run's record"
    pictures = list(offline.glob("files/media/images/warp_*.png"))
    assert len(pictures) == 2, "the start, and after the epoch"
    assert rows(folder / "csv/version_0/metrics.csv")
