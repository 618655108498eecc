"""A progress bar that names the phase."""

import sys

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from typing_extensions import override


class PhaseProgressBar(TQDMProgressBar):
    """Lightning's bar with the method's phase in front of it; silent where there is no terminal.

    Args:
        refresh_rate: batches between updates.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stderr.isatty() else 0)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        phase = getattr(pl_module, "phase", "train")
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.train_progress_bar.set_description(f"{phase} phase, {epoch}")
