"""What is said where a training is stopped from outside."""

import logging
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

log = logging.getLogger(__name__)


class ToldWhenStopped(Callback):
    """Tells, when a training is stopped by Ctrl-C or SIGTERM, what of it is kept and how it is gone on with.

    Args:
        last: the checkpoint of the last whole epoch, which may not be there yet.
        remedy: how to go on from it.
    """

    def __init__(self, last: Path, remedy: str) -> None:
        self.last, self.remedy = last, remedy

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException) or not trainer.is_global_zero:
            return
        by = "Ctrl-C" if isinstance(exception, KeyboardInterrupt) else "SIGTERM"
        if self.last.exists():
            log.warning("stopped by %s: %s is kept, of the last whole epoch. %s", by, self.last, self.remedy)
        else:
            log.warning("stopped by %s in the first epoch, of which nothing is kept. %s", by, self.remedy)
