"""Clocks and the most memory held: what every bench measures with."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

# Before torch is imported: the profiler says when it starts and stops, among our tables.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch.profiler import ProfilerActivity, profile

Clock = Literal["wall", "cpu"]
"""By the clock on the wall; or CPU time of the process's threads, which others on the machine hardly change: with one
thread, what an undisturbed core does."""

READ: Final[dict[Clock, Callable[[], float]]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Seconds:
    """How long one call takes, by the clock on the wall and in time of all CPU cores."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Lap:
    """Some steps of a loop.

    Attributes:
        images: that went through the network.
        seconds: from the beginning of the first step to the end of the last, all that a loop does between included.
        waiting: seconds of these until batches were there, on their device.
    """

    images: int
    seconds: float
    waiting: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def waiting_share(self) -> float:
        """Share of the time, in %, in which the loop waited for data."""
        return 100 * self.waiting / self.seconds


def ratios(ours: Sequence[Lap], theirs: Sequence[Lap]) -> list[float]:
    """How many times as many images a second, for each pair of laps that took turns.

    Raises:
        ValueError: there are not as many of either.
    """
    return [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]


def median_waiting(laps: Sequence[Lap]) -> float:
    """Of laps, the median share of time waited, in %."""
    return statistics.median(lap.waiting_share for lap in laps)


def seconds(work: Callable[[], object], device: torch.device) -> Seconds:
    """Time one call."""
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most memory one call holds at a time beyond what was held before: what torch's allocator hands out."""
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def wait(device: torch.device) -> None:
    """Until the device has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
