"""What is told of a loop without a terminal: a line now and then, with the time left; of a short one nothing."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

import callbacks.countdown as countdown
import callbacks.progress as progress
from callbacks.countdown import Countdown, in_words, left


class Clock:
    """Time that goes on by a step each time it is asked for."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (40.4, "40 s"), (240, "4 min"), (7800, "2 h 10 min"), (5400, "1 h 30 min")]
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_left() -> None:
    assert left(30, 10, 40) == "about 2 min left"
    assert left(30, 0, 40) == "time unknown"
    assert left(30, 50, 40) == "about 0 s left"


def test_lines_of_a_long_loop(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(countdown, "time", Clock(6.0))
    caplog.set_level(logging.INFO)
    with Countdown("pictures", 10) as told:
        assert list(told.track(range(10))) == list(range(10))
    assert caplog.messages == [
        "pictures: 3 of 10, about 42 s left",
        "pictures: 6 of 10, about 24 s left",
        "pictures: 9 of 10, about 6 s left",
    ]


def test_a_short_loop_is_quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO)
    with Countdown("pictures", 10) as told:
        list(told.track(range(10)))
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


def test_a_total_that_is_not_known(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(countdown, "time", Clock(20.0))
    caplog.set_level(logging.INFO)
    with Countdown("frames") as told:
        told.tell(7)
        told.tell(8, 16)
    assert caplog.messages == ["frames: 7", "frames: 8 of 16, about 40 s left"]


def test_the_time_left_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = progress.PhaseProgressBar()
    monkeypatch.setattr(progress, "time", Clock(0.0))
    bar._start, bar._first = -60.0, 2  # resumed at epoch 2
    trainer: Any = SimpleNamespace(max_epochs=10)
    assert bar._left(trainer, 2) == ""
    assert bar._left(trainer, 4) == ", about 3 min left"
    assert bar._left(trainer, 10) == ""
    trainer.max_epochs = -1
    assert bar._left(trainer, 4) == ""
