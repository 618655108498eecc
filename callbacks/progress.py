"""A progress bar that names the phase."""

import logging
import sys
import time

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from typing_extensions import override

from callbacks.countdown import left

log = logging.getLogger(__name__)


class PhaseProgressBar(TQDMProgressBar):
    """Lightning's bar with the method's phase in front of it; without a terminal, a line of log for each epoch.

    Both say how long the run still takes, judged by the epochs of this process, from the second one on.

    Args:
        refresh_rate: batches between updates.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        self.terminal = sys.stderr.isatty()
        self._start, self._first = time.monotonic(), 0
        super().__init__(refresh_rate=refresh_rate if self.terminal else 0)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._start, self._first = time.monotonic(), trainer.current_epoch

    def _left(self, trainer: Trainer, done: int) -> str:
        """The time that is left after epoch number ``done``; nothing where it cannot be told, or none is left."""
        limit, here = trainer.max_epochs, done - self._first
        if limit is None or limit <= done or here < 1:
            return ""
        return f", {left(time.monotonic() - self._start, here, limit - self._first)}"

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.train_progress_bar.set_description(_title(trainer, pl_module) + self._left(trainer, trainer.current_epoch))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not self.terminal and trainer.is_global_zero:
            shown = {name: value for name, value in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
            values = ", ".join(f"{name} {float(value):.4f}" for name, value in shown.items())  # type: ignore[arg-type]
            log.info("%s: %s%s", _title(trainer, pl_module), values, self._left(trainer, trainer.current_epoch + 1))


def epoch_of(trainer: Trainer) -> str:
    """``epoch 3/10``, counted from 1; ``epoch 3`` where the number of epochs is not limited."""
    limit = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f"/{limit}" if limit is not None and limit > 0 else "")


def _title(trainer: Trainer, method: LightningModule) -> str:
    return f"{getattr(method, 'phase', 'train')} phase, {epoch_of(trainer)}"
