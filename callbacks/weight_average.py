"""An exponential moving average of the weights, validated, tested and saved in their place."""

from typing import Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities.types import STEP_OUTPUT
from typing_extensions import override

from lightning_modules.methods.adaptation import Adaptation


class WeightAverage(EMAWeightAveraging):
    """Lightning's ``EMAWeightAveraging``; after fitting, the average is there even if nothing was left to fit.

    Lightning hands it over when training ends, which a run that is resumed after its last epoch does not begin. What a
    method does to its landmarker after the last step, it does to the average.
    """

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if isinstance(pl_module, Adaptation) and pl_module.progress >= 1:
            assert self._average_model is not None
            pl_module.settle(cast(Adaptation, self._average_model.module).landmarker)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy_average_to_current(pl_module)
