"""Which folder a run is given: held by one run at a time, and moved aside only if a run wrote it."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from experiments.errors import UsageError
from experiments.run.account import require_account
from experiments.run.folder import RunFolder, beside, is_run_folder, require_named


def finished(folder: Path) -> Path:
    """What a run of an earlier version left: no lock."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").write_text("weights")
    (folder / "config.yaml").write_text("run: {setting: own}")
    return folder


def taken(folder: Path, resume: bool = False) -> RunFolder:
    place = RunFolder(folder)
    place.take(resume)
    return place


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_never_hold_one_folder(tmp_path: Path, resume: bool) -> None:
    first = taken(tmp_path / "seed0")
    (tmp_path / "seed0/metrics.json").write_text("{}")
    with pytest.raises(UsageError, match="another run is at work in it"):
        taken(tmp_path / "seed0", resume)
    assert (tmp_path / "seed0/metrics.json").exists(), "it is not moved away under the run that is at work"
    first.release()
    taken(tmp_path / "seed0", resume).release()


def test_an_earlier_run_is_kept_under_another_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = finished(tmp_path / "seed0")
    with caplog.at_level(logging.WARNING):
        taken(folder).release()
    assert (tmp_path / "seed0-earlier1/checkpoints/last.ckpt").read_text() == "weights"
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert "kept the earlier run" in caplog.text
    taken(folder).release()
    assert not (tmp_path / "seed0-earlier2").exists(), "a run that was stopped before it wrote anything leaves nothing"


def test_it_stays_where_it_is_when_it_is_gone_on_with(tmp_path: Path) -> None:
    folder = finished(tmp_path / "seed0")
    taken(folder, resume=True).release()
    assert (folder / "checkpoints/last.ckpt").exists()


def _thesis(folder: Path) -> None:
    (folder / "chapter1").mkdir(parents=True)


def _scores_of_evaluate(folder: Path) -> None:
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")


def _copied_configuration(folder: Path) -> None:
    (folder / "photos").mkdir(parents=True)
    (folder / "config.yaml").write_text("run: {setting: own}")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("fill", [_thesis, _scores_of_evaluate, _copied_configuration])
def test_unrelated_work_is_neither_moved_nor_written_into(
    tmp_path: Path, fill: Callable[[Path], None], resume: bool
) -> None:
    folder = tmp_path / "work"
    fill(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UsageError, match="which no run wrote, and which stay as they are"):
        taken(folder, resume)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert not is_run_folder(folder)


def test_the_folder_that_one_works_in_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(tmp_path / "project")
    (folder / "photos").mkdir()
    monkeypatch.chdir(folder / "photos")
    with pytest.raises(UsageError, match="is the folder that you work in"):
        taken(folder)
    assert (folder / "checkpoints/last.ckpt").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written .*--paths\.runs=DIR"):
        taken(tmp_path / "file/seed0")


def test_a_disk_that_is_all_but_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10 * 2**20))
    with pytest.raises(UsageError, match=r"seed0: cannot be written \(10 MiB are free"):
        taken(tmp_path / "seed0")


@pytest.mark.parametrize("login", ["WANDB_API_KEY", "NETRC", ""])
def test_weights_and_biases_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai login user password key" if login == "NETRC" else "")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    if login == "WANDB_API_KEY":
        monkeypatch.setenv(login, "key")
    logger = WandbLogger(save_dir=tmp_path)
    if login:
        require_account([logger])
    else:
        with pytest.raises(UsageError, match=r"WANDB: found no login .* WANDB_MODE=offline"):
            require_account([logger])
        require_account([CSVLogger(tmp_path), WandbLogger(save_dir=tmp_path, offline=True)])
        monkeypatch.setenv("WANDB_MODE", "offline")
        require_account([logger])


@pytest.mark.parametrize(
    ("folder", "runs", "said"),
    [(None, "runs", "takes a name that begins with #"), ("/own", "", "--paths.runs is empty"), ("~/x", "~", "shell")],
)
def test_names_that_are_not_what_was_meant(folder: object, runs: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        require_named(folder, runs)


def test_further_outputs_keep_what_follows_a_dot_in_a_name() -> None:
    names = [beside(Path(name), ".faces.csv").name for name in ("run1.5", "run1.6", "run.json", "run1.5.json", "run")]
    assert names == ["run1.5.faces.csv", "run1.6.faces.csv", "run.faces.csv", "run1.5.faces.csv", "run.faces.csv"]
