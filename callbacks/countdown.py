"""How far a loop is, and how long it still takes: a bar on a terminal, else a line of log now and then."""

import logging
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

T = TypeVar("T")
INTERVAL: Final = 15.0
"""Seconds between two lines where there is no terminal; what ends sooner writes none."""


class Countdown:
    """Shows how much of a loop is done, and the time left; to be used in a ``with`` statement.

    Args:
        what: is counted, e.g. ``pictures``.
        total: how many there are, if that is known.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what, self.total = what, total
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._bar.add_task(what, total=total) if self._bar else None
        self._start = self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def tell(self, done: int, total: int | None = None) -> None:
        """So many are done (of so many, where that is known only now)."""
        self.total = total if total is not None else self.total
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self.total)
        elif (now := time.monotonic()) - self._said >= INTERVAL:
            self._said = now
            of = f" of {self.total}, {left(now - self._start, done, self.total)}" if self.total else ""
            log.info("%s: %d%s", self.what, done, of)

    def track(self, things: Iterable[T]) -> Iterator[T]:
        """The things, each counted as done when the next one is asked for."""
        for done, thing in enumerate(things, 1):
            yield thing
            self.tell(done)


def left(elapsed: float, done: float, total: float) -> str:
    """``about 4 min left``, as the part that is done took ``elapsed`` seconds; ``time unknown`` before there is one."""
    if done <= 0:
        return "time unknown"
    return f"about {in_words(elapsed / done * max(total - done, 0))} left"


def in_words(seconds: float) -> str:
    """A time to a minute or so: ``40 s``, ``4 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
