"""Where not every epoch is validated, the one that ends a run is; also killed and resumed, with averaged weights."""

from pathlib import Path

import pytest

from experiments.catalogue import CONFIGS
from lightning_modules.methods import Stylize
from tests.experiments.helpers import (
    RESUMING,
    TINY,
    checkpoint,
    differences,
    learned,
    merged,
    metrics,
    rows,
    run,
    write_config,
)
from tests.experiments.processes.killing import run_and_kill

pytestmark = RESUMING

RUN = Path("da_cariface/stylize-slpt/seed0")
EMA = f"--config={CONFIGS / 'ema.yaml'}"


def command(folder: Path, every: int, epochs: int) -> list[str]:
    few = merged(TINY, {"trainer": {"check_val_every_n_epoch": every, "max_epochs": epochs}})
    config = write_config(folder / f"{every}-{epochs}.yaml", few)
    return ["train", "--setting=da_cariface", "--method=stylize", config]


def validated(folder: Path) -> list[int]:
    """Epochs with scores, from 0."""
    return sorted({int(row["epoch"]) for row in rows(folder / "nme.csv")})


def epoch_of(path: Path) -> int:
    return int(checkpoint(path)["epoch"])


@pytest.mark.parametrize(
    ("end", "last"),
    [("max_epochs=3", 2), ("max_steps=6", 2), ("max_steps=7", 3)],
    ids=["fewer epochs than the period", "steps that end with an epoch", "steps that end within one"],
)
def test_the_last_epoch_is_scored(tmp_path: Path, end: str, last: int) -> None:
    limits = ["--trainer.max_epochs=9"] if "steps" in end else []
    run(*command(tmp_path, 5, 9), *limits, f"--trainer.{end}", f"--paths.runs={tmp_path}/runs")
    folder = tmp_path / "runs" / RUN
    assert validated(folder) == [last]
    assert epoch_of(folder / "checkpoints/best.ckpt") == epoch_of(folder / "checkpoints/last.ckpt") == last
    found = {row["subset"]: float(row["nme"]) for row in rows(folder / "nme.csv")}
    assert found == {name: pytest.approx(one["nme"], abs=1e-5) for name, one in metrics(folder)["test"].items()}


def test_a_run_that_is_out_of_time_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is known within an epoch only, by Lightning's timer."""
    steps, step = [], Stylize.training_step
    monkeypatch.setattr(Stylize, "training_step", lambda *args: steps.append(step(*args)))
    monkeypatch.setattr("lightning.pytorch.callbacks.Timer.time_elapsed", lambda *_: 100.0 if steps else 0.0)
    options = ["--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:01"]
    run(*command(tmp_path, 5, 9), *options, f"--paths.runs={tmp_path}/runs")
    folder = tmp_path / "runs" / RUN
    assert len(steps) == 1
    assert validated(folder) == [0]
    assert (folder / "checkpoints/best.ckpt").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(*command(folder, 2, 5), EMA, f"--paths.runs={folder}/runs")
    assert validated(folder / "runs" / RUN) == [1, 3, 4]
    return folder / "runs"


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "batch"), [(2, 0), (4, 1)], ids=["before a whole period", "in the last epoch"])
def test_killed_and_resumed_it_ends_the_same_with_an_average(
    tmp_path: Path, whole: Path, epoch: int, batch: int
) -> None:
    words = [*command(tmp_path, 2, 5), EMA, f"--paths.runs={tmp_path}/runs"]
    run_and_kill(words, Stylize, epoch, batch)
    folder = tmp_path / "runs" / RUN
    assert not (folder / "metrics.json").exists()
    run(*words, "--resume")
    assert validated(folder) == [1, 3, 4]
    assert rows(folder / "nme.csv") == rows(whole / RUN / "nme.csv")
    assert metrics(folder) == metrics(whole / RUN)
    for name in ("last", "best"):
        ours, theirs = (runs / RUN / f"checkpoints/{name}.ckpt" for runs in (tmp_path / "runs", whole))
        averages = [
            {k: checkpoint(one)[k] for k in ("current_model_state", "averaging_state")} for one in (ours, theirs)
        ]
        assert list(differences(*averages)) == []
        assert list(differences(learned(ours), learned(theirs))) == []
