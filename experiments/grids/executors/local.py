"""Commands in processes of their own on this machine, several at once."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final

log = logging.getLogger(__name__)

_TETHERED: Final = "experiments.grids.executors.tethered"


@dataclass(frozen=True)
class Job:
    """A command of this program.

    Attributes:
        name: in messages.
        command: a module, and its arguments.
        log: where its output is added.
        is_needed: asked just before it would start.
        environment: further variables.
    """

    name: str
    command: Sequence[str]
    log: Path
    is_needed: Callable[[], bool] = lambda: True
    environment: Mapping[str, str] = field(default_factory=dict)


def run_jobs(jobs: Sequence[Job], at_once: int = 1, threads: int = 1, devices: Sequence[str] = ()) -> list[str]:
    """Run jobs, ``at_once`` at a time; one that fails is named, and the others go on.

    If this process is interrupted, or killed, its jobs end with it.

    Args:
        jobs: in the order in which they start.
        at_once: how many.
        threads: of each.
        devices: GPUs as CUDA_VISIBLE_DEVICES names them; each job sees one. They are shared where there are fewer than
            jobs at a time. Without any, jobs see what this process sees.

    Returns:
        What went wrong, a line each.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for k in range(at_once):
        free.put(devices[k % len(devices)] if devices else "")
    # Never written to; it ends when this process does, and with it every job that reads it.
    reading, writing = os.pipe()
    try:
        with ThreadPoolExecutor(at_once) as pool:
            try:
                ends = [pool.submit(_run, job, reading, free, threads) for job in jobs]
                return [problem for end in ends if (problem := end.result())]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                os.close(writing)
    finally:
        os.close(reading)


def _run(job: Job, tether: int, free: "SimpleQueue[str]", threads: int) -> str:
    device = free.get()
    try:
        if not job.is_needed():
            return ""
        log.info("%s%s (%s)", job.name, f", GPU {device}" if device else "", job.log)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **job.environment}
        environment |= {"CUDA_VISIBLE_DEVICES": device} if device else {}
        command = [sys.executable, "-m", _TETHERED, *job.command]
        with job.log.open("a") as said:
            # A session of its own: Ctrl-C reaches this process alone, which then ends all jobs in one way.
            status = subprocess.run(
                command, stdin=tether, stdout=said, stderr=said, env=environment, start_new_session=True, check=False
            ).returncode
    finally:
        free.put(device)
    if status == 0:
        log.info("%s: ended well", job.name)
        return ""
    last = (job.log.read_text().strip().splitlines() or [""])[-1]
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"{job.name} ended with {ended}: {last} ({job.log})"


def gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        import torch  # here: what only starts processes starts at once

        return [str(k) for k in range(torch.cuda.device_count())]
    return [name.strip() for name in given.split(",") if name.strip()]


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
