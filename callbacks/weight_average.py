"""An exponential moving average of the weights, validated, tested and saved in their place."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import override

from lightning_modules.methods.adaptation import weights_of


class WeightAverage(WeightAveraging):
    """Lightning's ``WeightAveraging`` with a decay that grows to its value over the first steps.

    The average lies beside the weights: Lightning makes it before they are moved to their device, so that a step would
    bring every tensor to the CPU. And after fitting it is there even if nothing was left to fit: Lightning copies it to
    the module when training ends, which a run that is resumed after its last epoch does not begin.

    Args:
        decay: share of the average that a step keeps, once the average is old enough, see :func:`kept_after`.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; expected a share from 0 to below 1, e.g. 0.998.")
        super().__init__()
        self.decay = decay
        self._count = 0

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # On a GPU, the number is asked for once: reading it in a step would wait for all work that is queued.
        self._count = int(self._averaged.n_averaged)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            average(self._averaged, pl_module, self._count, self.decay)
            self._count += 1
            self._latest_update_step = trainer.global_step

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy_average_to_current(pl_module)

    @property
    def _averaged(self) -> AveragedModel:
        assert self._average_model is not None, "made in setup"
        return self._average_model


def kept_after(count: int, decay: float) -> float:
    """The share of itself that an average of ``count`` steps keeps: none at first, at most ``decay``.

    With a constant decay of 0.998, half of what a run of 350 steps ends with would be the weights after its first step.

    Source: the ``num_updates`` of TensorFlow's ``ExponentialMovingAverage``.
    """
    return min(decay, (1 + count) / (10 + count)) if count else 0.0


@torch.no_grad()
def average(averaged: AveragedModel, model: nn.Module, count: int, decay: float) -> None:
    """Take a step's weights and statistics into their average, in a few passes over all of them.

    Args:
        averaged: changed in place.
        model: what is averaged, on the same device.
        count: steps averaged so far.
        decay: see :func:`kept_after`.
    """
    averaged.n_averaged.add_(1)
    pairs = list(zip(weights_of(averaged.module), weights_of(model), strict=True))
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    if numbers:
        update = get_ema_multi_avg_fn(kept_after(count, decay))  # type: ignore[no-untyped-call]
        update(*map(list, zip(*numbers, strict=True)), None)
    for mine, current in pairs:
        if not mine.is_floating_point():  # batch-norm's count of batches
            mine.copy_(current)
