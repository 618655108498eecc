"""An exponential moving average of the weights, validated, tested and saved in their place."""

from collections.abc import Callable

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from typing_extensions import override


class WeightAverage(WeightAveraging):
    """Lightning's ``WeightAveraging`` with a decay that grows to its value over the first steps.

    Also, after fitting the average is there even if nothing was left to fit: Lightning copies it to the module when
    training ends, which a run that is resumed after its last epoch does not begin.

    Args:
        decay: share of the average that a step keeps, once the average is old enough, see :func:`growing_average`.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; expected a share from 0 to below 1, e.g. 0.998.")
        super().__init__(avg_fn=growing_average(decay))

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy_average_to_current(pl_module)


def growing_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A moving average that forgets its first values: after n steps it keeps ``min(decay, (1 + n) / (10 + n))``.

    With a constant decay of 0.998, half of what a run of 350 steps ends with would be the weights after its first step.

    Source: the ``num_updates`` of TensorFlow's ``ExponentialMovingAverage``.
    """

    def average(averaged: Tensor, current: Tensor, count: Tensor) -> Tensor:
        if not averaged.is_floating_point():
            return current  # batch-norm's count of batches
        # A tensor: to read its number, a step would have to wait for the device.
        taken = (9 / (10 + count)).clamp_min(1 - decay).to(averaged.dtype)
        return torch.lerp(averaged, current, taken)

    return average
