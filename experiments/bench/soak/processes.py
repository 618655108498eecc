"""Runs in processes of their own, which end where the soak wants them to."""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal

Way = Literal["SIGKILL", "SIGTERM", "full disk"]
WAYS: Final[tuple[Way, ...]] = ("SIGKILL", "SIGTERM", "full disk")

# Each process is forked from one that has imported everything and done nothing: a start costs no import.
_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["experiments.bench.soak.imported", "experiments.command_line", "experiments.commands.train", __name__]
)


@dataclass(frozen=True)
class Stop:
    """How a run is ended.

    Attributes:
        way: by a signal; or by a disk that is full, as far as a process can be made to see one: no file may grow beyond
            a size.
        seconds: after the start, for a signal.
        size: bytes, for a full disk.
    """

    way: Way
    seconds: float = 0.0
    size: int = 0

    @classmethod
    def drawn(cls, random: Random, seconds: float, size: int) -> "Stop":
        """A random one within a run of ``seconds`` whose largest file has ``size`` bytes."""
        way = random.choices(WAYS, weights=(4, 2, 1))[0]
        return cls(way, random.uniform(0, seconds), random.randrange(2000, max(size, 2001)))


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status, negative for a signal.
        seconds: how long it ran.
        stopped: whether it was in the middle when it was stopped, not done before.
    """

    status: int
    seconds: float
    stopped: bool = False


def run(command: Sequence[str], log: Path, stop: Stop | None = None) -> Ended:
    """Run a command of ``python -m experiments`` in a process of its own, stopped if asked for.

    Args:
        command: its words.
        log: gets what it prints.
        stop: how to end it; None lets it end by itself.
    """
    limit = stop.size if stop is not None and stop.way == "full disk" else None
    process = _PROCESSES.Process(target=_run, args=(list(command), str(log), limit))
    began = time.monotonic()
    process.start()
    stopped = False
    if stop is not None and limit is None:
        process.join(stop.seconds)
        if stopped := process.is_alive():
            assert process.pid is not None, "it was started"
            os.kill(process.pid, signal.SIGKILL if stop.way == "SIGKILL" else signal.SIGTERM)
    process.join()
    assert process.exitcode is not None, "it was joined"
    full = limit is not None and process.exitcode != 0
    return Ended(process.exitcode, time.monotonic() - began, stopped or full)


def _run(command: list[str], log: str, limit: int | None) -> None:
    with Path(log).open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    if limit is not None:
        # Python is told of it by an error of the write, as it is of a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        sys.argv = ["experiments", *command]
        runpy.run_module("experiments", run_name="__main__")
    except Exception:
        traceback.print_exc()
        os._exit(1)
