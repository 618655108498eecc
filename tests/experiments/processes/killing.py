"""Runs that are killed: real processes and a real SIGKILL."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_modules.methods import FaceMethod
from tests.experiments.helpers import run

# Each process is forked from one that has imported everything and done nothing: a start costs no import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.experiments.processes.killing", *(f"experiments.commands.{name}" for name in ("train", "evaluate", "grid"))]
)


def run_and_kill(arguments: list[str], method: type[FaceMethod], epoch: int, batch: int) -> None:
    """Run a command in another process, and kill it after a step.

    Args:
        arguments: of ``python -m experiments``.
        method: whose step it is (``Supervised`` while pretraining).
        epoch: from 0.
        batch: the step within the epoch, from 0.
    """
    process = PROCESSES.Process(target=_run_until, args=(arguments, method, epoch, batch))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the run was to be killed, but ended with {process.exitcode}"


def _run_until(arguments: list[str], method: Any, epoch: int, batch: int) -> None:
    def kill(self: FaceMethod, outputs: Any, data: Any, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGKILL)

    method.on_train_batch_end = kill
    run(*arguments)


class KillTheGrid(Callback):
    """Kills the process that started this one, once, in mid-cell; then does nothing: who ends it?

    The environment names a file in which it says that it did so: ``KILLED_ONCE``; without that it does nothing.
    """

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        told = os.environ.get("KILLED_ONCE")
        if told and (trainer.current_epoch, args[-1]) == (1, 1) and not Path(told).exists():
            Path(told).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()


def run_until_killed(arguments: list[str], told: Path) -> None:
    """Run a command whose trainer has :class:`KillTheGrid`, in another process, until that is killed."""
    process = PROCESSES.Process(target=_run_with, args=(arguments, {"KILLED_ONCE": str(told)}))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the run was to be killed, but ended with {process.exitcode}"


def run_in_two(arguments: list[str]) -> None:
    """Run a command in two processes at once."""
    both = [PROCESSES.Process(target=_run_with, args=(arguments, {})) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]


def _run_with(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    run(*arguments)
