"""A training that is stopped from outside: that it stops, and what is said then."""

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

log = logging.getLogger(__name__)


class ToldWhenStopped(Callback):
    """Tells, when a training is stopped by Ctrl-C or SIGTERM, what of it is kept and how it is gone on with.

    And it sees to it that Ctrl-C does stop it: Python raises its ``KeyboardInterrupt`` wherever the program is, and
    drops it where that is a destructor or a callback of a weak reference, of which torch has many. It is raised again
    then, before the next step.

    Args:
        last: the checkpoint of the last whole epoch, which may not be there yet.
        remedy: how to go on from it.
    """

    def __init__(self, last: Path, remedy: str) -> None:
        self.last, self.remedy = last, remedy
        self._asked = False
        self._handler: Any = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = signal.getsignal(signal.SIGINT)
        # Only the main thread may; where Ctrl-C is ignored or nobody's of Python, it stays so.
        if callable(found) and threading.current_thread() is threading.main_thread():
            self._asked, self._handler = False, found
            signal.signal(signal.SIGINT, self._interrupt)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._asked:
            raise KeyboardInterrupt

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._give_back()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self._handler(number, frame)

    def _give_back(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException) or not trainer.is_global_zero:
            return
        by = "Ctrl-C" if isinstance(exception, KeyboardInterrupt) else "SIGTERM"
        if self.last.exists():
            log.warning("stopped by %s: %s is kept, of the last whole epoch. %s", by, self.last, self.remedy)
        else:
            log.warning("stopped by %s in the first epoch, of which nothing is kept. %s", by, self.remedy)
