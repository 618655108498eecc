"""The soak itself: trial after trial."""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from experiments.bench.soak.comparing import differences
from experiments.bench.soak.processes import Stop, run
from experiments.bench.soak.trials import Trial

log = logging.getLogger(__name__)

_STOPS: Final = (1, 5)
"""At least and at most so many in one trial; then it is let go to its end."""

_MOST_FAILED: Final = 5
"""Trials after which nothing more is learned from going on."""


@dataclass
class Figures:
    """What came of a soak.

    Attributes:
        trials: runs that were compared with one that was never stopped.
        stops: how often a run was ended, by the way it was.
        failed: one line for each trial that did not end, or not as the run that was never stopped.
        seconds: all of it took.
    """

    trials: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        ways = ", ".join(f"{count} by {way}" for way, count in sorted(self.stops.items()))
        return (
            f"{self.trials} runs, stopped {self.stops.total()} times ({ways}) and gone on with: {len(self.failed)} did "
            f"not end as one that was never stopped; {self.seconds:.0f} s"
        )


def soak(folder: Path, runs: int, seed: int = 0, seconds: float = float("inf")) -> Figures:
    """Stop random runs at random moments and go on with them; each must end bit-equal to one that was never stopped.

    Args:
        folder: to work in; what a trial leaves is deleted, unless it failed.
        runs: how many.
        seed: of all that is random but the clock: the same trials and the same moments.
        seconds: no trial is begun after these.
    """
    figures, random, began = Figures(), Random(seed), time.monotonic()
    while figures.trials < runs and time.monotonic() - began < seconds:
        if len(figures.failed) == _MOST_FAILED:
            break
        trial = Trial.drawn(random)
        place = folder / f"trial{figures.trials}"
        problem = try_out(trial, place, Random(random.random()), figures)
        figures.trials += 1
        if problem:
            figures.failed.append(f"{place.name} ({trial}): {problem}")
        else:
            shutil.rmtree(place)
        figures.seconds = time.monotonic() - began
        log.info("%s: %s; %s", trial, problem or "the same", figures)
    return figures


def try_out(trial: Trial, place: Path, stops: Sequence[Stop] | Random, figures: Figures) -> str:
    """Run a trial whole, and again with stops; both in a folder.

    Args:
        trial: the run.
        place: for both.
        stops: how to stop it, one after the other; or what draws them.
        figures: gets the stops.

    Returns:
        What is wrong, or nothing.
    """
    reference, stopped = place / "whole", place / "stopped"
    place.mkdir(parents=True, exist_ok=True)
    whole = run(trial.command(reference), place / "whole.log")
    if whole.status != 0:
        return f"the run that is not stopped ended with {whole.status}"
    if isinstance(stops, Random):
        largest = max(file.stat().st_size for file in reference.rglob("*.ckpt"))
        count = stops.randint(*_STOPS)
        stops = [Stop.drawn(stops, 0.8 * whole.seconds, largest) for _ in range(count)]
    command = [*trial.command(stopped), "--resume"]
    for stop in stops:
        if not run(command, place / "stopped.log", stop).stopped:
            break  # it was done before
        figures.stops[stop.way] += 1
    last = run(command, place / "stopped.log")
    if last.status != 0:
        return f"going on ended with {last.status}"
    lost = differences(trial.folder(stopped), trial.folder(reference))
    return f"differs in {', '.join(lost[:3])} ({len(lost)} in all)" if lost else ""
