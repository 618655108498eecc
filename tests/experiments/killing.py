"""Runs that are killed: real processes and a real SIGKILL."""

import multiprocessing
import os
import signal
from typing import Any

from lightning_modules.methods import FaceMethod
from tests.experiments.helpers import run

# Each process is forked from one that has imported everything and done nothing: a start costs no import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.experiments.killing", "experiments.commands.train", "experiments.commands.evaluate"]
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
