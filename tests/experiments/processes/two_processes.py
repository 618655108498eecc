"""Both processes of a distributed run, forked from one that has imported everything."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch

from tests.experiments.helpers import run
from tests.experiments.processes.killing import PROCESSES


def run_on_two_processes(
    arguments: list[str], seconds: float = 240, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Run a command on two processes on the CPU, as a launcher outside Lightning starts them.

    Args:
        arguments: of ``python -m experiments``; the strategy is theirs to give.
        seconds: after which they count as waiting for each other for ever.
        meanwhile: called once both have been started.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [PROCESSES.Process(target=_run_rank, args=(arguments, rank, port)) for rank in (0, 1)]
    for process in both:
        process.start()
    meanwhile()
    for process in both:
        process.join(seconds)
    ends = [process.exitcode for process in both]
    for process in both:
        process.kill()
    assert ends == [0, 0], f"the processes ended with {ends}; None is one that had to be stopped"


def _run_rank(arguments: list[str], rank: int, port: int) -> None:
    place: dict[str, Any] = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(1)
    run(*arguments, "--trainer.devices=2")
