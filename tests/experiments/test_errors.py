"""Which errors are told in a line, and how a process says that it was stopped."""

import errno

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader
from wandb.errors import UsageError as WandbError

from datamodules.faces import DataError
from experiments import command_line
from experiments.command_line import _at_home, main
from experiments.errors import told
from lightning_modules.weights import WeightsNotFoundError
from tests.experiments.helpers import refused


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


def test_ours_are_told_also_where_a_library_wrapped_them() -> None:
    for own in (DataError("bad label"), WeightsNotFoundError("bad label")):
        assert told(own) == told(raised(TypeError("in jsonargparse"), own)) == "bad label"
    assert told(ValueError("a mistake of the program")) is None
    assert told(None) is None


def test_libraries_that_refuse() -> None:
    assert told(MisconfigurationException("no\n gpu")) == "the trainer refuses its options: no gpu"
    said = told(WandbError("api_key not configured (no-tty)."))
    assert said is not None
    assert said.startswith("Weights & Biases refuses: api_key not configured (no-tty). Log in once with `wandb login`")
    assert "WANDB_MODE=offline" in said
    with pytest.raises(ValueError, match="num_workers") as refusal:
        DataLoader([], num_workers=-1)  # type: ignore[arg-type]
    assert "num_workers option should be non-negative" in str(told(refusal.value))
    with pytest.raises(ValueError, match="learning rate") as refusal:
        torch.optim.Adam([torch.zeros(1)], lr=-1.0)
    assert told(refusal.value) == "Invalid learning rate: -1.0"


@pytest.mark.parametrize(("number", "is_told"), [(errno.ENOSPC, True), (errno.EROFS, True), (errno.ENOENT, False)])
def test_files_that_cannot_be_written(number: int, is_told: bool) -> None:
    said = told(OSError(number, "the reason", "runs/last.ckpt"))
    assert (said is not None) == is_told
    if said:
        assert said.startswith("runs/last.ckpt: cannot be written (the reason). What was written before is kept")


def test_a_full_disk_while_torch_writes() -> None:
    with pytest.raises((RuntimeError, OSError)) as failure:
        torch.save({"weights": torch.zeros(100_000)}, "/dev/full")
    assert "cannot be written" in str(told(failure.value))


@pytest.mark.parametrize(
    ("end", "status"), [(SIGTERMException(), 143), (KeyboardInterrupt(), 130), (SystemExit(3), 3), (SystemExit(0), 0)]
)
def test_how_a_stopped_process_ends(monkeypatch: pytest.MonkeyPatch, end: BaseException, status: int) -> None:
    def stop(*words: str) -> None:
        raise end

    monkeypatch.setattr(command_line, "_run", stop)
    with pytest.raises(SystemExit) as exit_:
        main(["train"])
    assert exit_.value.code == status


def test_lightnings_exit_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*words: str) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904 - as Lightning does

    monkeypatch.setattr(command_line, "_run", stop)
    with pytest.raises(SystemExit) as exit_:
        main(["train"])
    assert exit_.value.code == 130


def test_the_users_folder_where_the_shell_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    words = {
        "--source=~/photos": "--source=/home/anna/photos",
        "~/photos": "/home/anna/photos",
        "--paths.runs=~": "--paths.runs=/home/anna",
        "--source=a~/b": "--source=a~/b",
        "--of=~anna/x": "--of=~anna/x",
        "--config={a: ~}": "--config={a: ~}",
    }
    assert {word: _at_home(word) for word in words} == words


def test_a_command_of_an_earlier_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'compare' is no command any more: what it did, `warpmark grid GRID` does." in refused(
        capsys, "compare", "x"
    )
