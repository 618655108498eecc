"""The search on this machine: W&B's parameters through Optuna, stopped and gone on with."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.commands import sweep as command
from experiments.sweeps.search import Search, last_logged
from experiments.sweeps.sweep import read_sweep
from tests.experiments.helpers import TINY, merged, refused, run, write_config

PARAMETERS: dict[str, Any] = {
    "rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "share": {"distribution": "uniform", "min": 0.5, "max": 1.5},
    "count": {"min": 2, "max": 4},
    "range": {"values": [[1.0, 1.0], [0.5, 2.5]]},
    "loss": {"values": ["a.Loss", "b.Loss"]},
    "on": {"values": [True, False]},
    "fixed": {"value": 7},
}


def write(path: Path, **changes: Any) -> Path:
    words = ["${env}", "${interpreter}", "-m", "experiments", "fit", "--config=a.yaml", "${args}"]
    content = {"method": "bayes", "metric": {"name": "val/x"}, "command": words, "parameters": PARAMETERS, **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


class Pretend:
    """Trials that take no time, and log what they were given as ``share``."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at
        self.given: list[list[str]] = []

    def __call__(self, name: str, words: Sequence[str], said: Path) -> str:
        self.given.append(list(words))
        values = dict(word.removeprefix("--").split("=", 1) for word in words[2:])
        folder = Path(values["trainer.default_root_dir"])
        (folder / "csv/version_0").mkdir(parents=True, exist_ok=True)
        if len(self.given) == self.stop_at:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints/last.ckpt").touch()
            raise KeyboardInterrupt
        with (folder / "csv/version_0/metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["val/x", "other"], ["9", "1"], [values["share"], ""], ["", "2"]])
        return ""


def values_of(words: Sequence[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in words[2 : 2 + len(PARAMETERS)])


def test_trials_their_words_and_their_table(tmp_path: Path) -> None:
    pretend = Pretend()
    path = Search(read_sweep(str(write(tmp_path / "some.yaml"))), tmp_path / "out", run=pretend).make(4)
    assert len(pretend.given) == 4
    for words in pretend.given:
        assert words[:2] == ["fit", "--config=a.yaml"]
        values = values_of(words)
        assert list(values) == list(PARAMETERS)
        assert 1e-4 <= float(values["rate"]) <= 1e-1
        assert values["count"] in ("2", "3", "4")
        assert values["range"] in ("[1.0, 1.0]", "[0.5, 2.5]")
        assert values["loss"] in ("a.Loss", "b.Loss")
        assert values["on"] in ("true", "false")
        assert values["fixed"] == "7"
    with path.with_suffix(".csv").open(newline="") as file:
        shown = [float(row["val/x"]) for row in csv.DictReader(file)]
    assert shown == sorted(shown)
    assert shown[0] == pytest.approx(min(float(values_of(words)["share"]) for words in pretend.given), abs=1e-4)


def test_it_goes_on_after_a_stop(tmp_path: Path) -> None:
    """The trial that was stopped is taken up with its values and its checkpoint; no values are tried again."""
    chosen = read_sweep(str(write(tmp_path / "some.yaml")))
    first = Pretend(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        Search(chosen, tmp_path / "out", run=first).make(5)
    second = Pretend()
    Search(chosen, tmp_path / "out", run=second).make(5)
    assert len(second.given) == 3
    assert values_of(second.given[0]) == values_of(first.given[2])
    assert second.given[0][-1] == f"--ckpt_path={tmp_path}/out/trial2/checkpoints/last.ckpt"
    tried = [tuple(values_of(words).values()) for words in (*first.given[:2], *second.given)]
    assert len(set(tried)) == 5
    third = Pretend()
    Search(chosen, tmp_path / "out", run=third).make(5)
    assert third.given == []


def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Which leaves a trial that is running, in the study of a process that is gone."""
    chosen, pretend = read_sweep(str(write(tmp_path / "some.yaml"))), Pretend()
    search = Search(chosen, tmp_path / "out", run=pretend)
    search.out.mkdir()
    words = chosen.suggested(search._study().ask())
    search.make(1)
    assert list(map(list, (values_of(given).values() for given in pretend.given))) == [
        [word.split("=", 1)[1] for word in words]
    ]
    assert f"--trainer.default_root_dir={tmp_path}/out/trial0" in pretend.given[0]


def test_trials_that_fail_are_named_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pretend = Pretend()

    def sometimes(name: str, words: Sequence[str], said: Path) -> str:
        return "trial0 ended with status 9: out of memory" if name == "trial0" else pretend(name, words, said)

    Search(read_sweep(str(write(tmp_path / "some.yaml"))), tmp_path / "out", run=sometimes).make(2)
    assert "trial0 ended with status 9: out of memory" in caplog.text
    assert len(pretend.given) == 1


@pytest.mark.slow
def test_a_real_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command, in a process of its own."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = write_config(tmp_path / "small.yaml", TINY, {"trainer": {"max_epochs": 1, "limit_train_batches": 1}})
    folder = f"--paths.runs={tmp_path}/runs"
    run("sweep", "warper", "--trials=1", f"--out={tmp_path}/out", small, folder)
    written = yaml.safe_load((tmp_path / "out/warper.yaml").read_text())
    assert written["command"][-3:] == [small, folder, "${args}"]
    text = (tmp_path / "out/table.md").read_text()
    assert text.startswith("SYNTHETIC faces: not results. warper: 1 trials")
    value = last_logged(tmp_path / "out/trial0", "val/balanced_nme")
    assert f" {value:.4f} |" in text
    assert list((tmp_path / "out/trial0").glob("wandb/offline-run-*")), "for `wandb sync`"


def test_with_an_account_it_says_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not command.has_account()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    run("sweep", "warper")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("wandb sweep ")
    assert said[0].endswith("experiments/sweeps/warper.yaml")
    assert said[1].startswith("wandb agent ENTITY/PROJECT/SWEEP")
    run("sweep", "warper", "--data=faces", f"--out={tmp_path}/out")
    file = capsys.readouterr().out.splitlines()[0].removeprefix("wandb sweep ")
    shipped = read_sweep("warper").content
    content = yaml.safe_load(Path(file).read_text())
    assert content == merged(shipped, {"command": [*shipped["command"][:-1], "--paths.data=faces", "${args}"]})
    monkeypatch.setenv("WANDB_API_KEY", "some")
    assert command.has_account()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not command.has_account()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": None}, "found None"),
        ({"command": ["python", "train.py"]}, "the command is python train.py; expected ${env} ${interpreter} -m"),
        ({"metric": {"name": "x", "goal": "least"}}, "goal is 'least'; expected one of minimize, maximize"),
        ({"method": "grid"}, "method 'grid'"),
        ({"parameters": {"rate": {"distribution": "q_normal", "mu": 1}}}, "rate is {'distribution': 'q_normal'"),
    ],
)
def test_files_that_are_not_as_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "some.yaml", **changes)
    assert message in refused(capsys, "sweep", str(file), "--local", f"--out={tmp_path}/out")


def test_bad_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "SWEEP=warpr is not known. Did you mean 'warper'" in refused(capsys, "sweep", "warpr")
    assert "expected 1 or more of each" in refused(capsys, "sweep", "warper", "--trials=0")
