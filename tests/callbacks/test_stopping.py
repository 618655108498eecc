"""What is said of a training that was stopped."""

import logging
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
