"""An exponential moving average of the weights, validated, tested and saved in their place."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from typing_extensions import override


class WeightAverage(EMAWeightAveraging):
    """Lightning's ``EMAWeightAveraging``; after fitting, the average is there even if nothing was left to fit.

    Lightning copies it to the module when training ends, which a run that is resumed after its last epoch does not
    begin.
    """

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy_average_to_current(pl_module)
