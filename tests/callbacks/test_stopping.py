"""What is said of a training that was stopped."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from callbacks.stopping import ToldWhenStopped


@pytest.mark.parametrize(
    ("exception", "there", "said"),
    [
        (KeyboardInterrupt(), True, "stopped by Ctrl-C: {last} is kept, of the last whole epoch. Go on."),
        (
            SIGTERMException(),
            False,
            "stopped by SIGTERM in the first epoch, of which nothing is kept. Go on.",
        ),
        (ValueError("other"), True, ""),
    ],
)
def test_what_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, exception: BaseException, there: bool, said: str
) -> None:
    last = tmp_path / "last.ckpt"
    if there:
        last.touch()
    trainer: Any = SimpleNamespace(is_global_zero=True)
    module: Any = None
    with caplog.at_level(logging.WARNING):
        ToldWhenStopped(last, "Go on.").on_exception(trainer, module, exception)
    assert [record.getMessage() for record in caplog.records] == ([said.format(last=last)] if said else [])


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C raises, also in a shell that ignores it, as for jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_that_a_destructor_swallows_stops_the_training_before_the_next_step(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    trainer: Any = SimpleNamespace(is_global_zero=True)
    module: Any = None
    told = ToldWhenStopped(tmp_path / "last.ckpt", "Go on.")
    told.on_train_start(trainer, module)
    told.on_train_batch_start(trainer, module, None, 0)
    # As Python does where it is raised in a destructor.
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        told.on_train_batch_start(trainer, module, None, 1)
    told.on_exception(trainer, module, KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("interrupts")
def test_the_handler_is_given_back_when_a_training_ends(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    trainer: Any = None
    module: Any = None
    told = ToldWhenStopped(tmp_path / "last.ckpt", "Go on.")
    told.on_train_start(trainer, module)
    assert signal.getsignal(signal.SIGINT) is not before
    told.on_train_end(trainer, module)
    assert signal.getsignal(signal.SIGINT) is before


def test_where_interrupts_are_ignored_they_stay_so(tmp_path: Path) -> None:
    trainer: Any = None
    module: Any = None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        told = ToldWhenStopped(tmp_path / "last.ckpt", "Go on.")
        told.on_train_start(trainer, module)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        told.on_train_end(trainer, module)
    finally:
        signal.signal(signal.SIGINT, before)
