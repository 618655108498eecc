"""Supervised learning on labelled faces (SL): the pretrained start of every other method, and the oracle."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.faces import TrainBatch
from datamodules.ranges import at_least, shares
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.base import FaceMethod

STEP_FACTOR = 0.1
"""What each milestone multiplies the learning rate by."""


class Supervised(FaceMethod):
    """Train the landmarker on the source's labels alone, with Adam and one learning-rate cycle, or falling steps.

    Args:
        landmarker: the network to train.
        learning_rate: Adam's peak learning rate.
        warmup: share of the steps (at least two of them) in which the learning rate rises to its peak; then it falls
            along a cosine. Without ``milestones`` only.
        weight_decay: decoupled weight decay.
        continue_from_start: go on from the pretrained start of other methods, as a control for longer training.
        milestones: epochs after which the learning rate, constant until then, falls to a tenth.
    """

    bounds = ("max_epochs", "max_steps")

    def __init__(
        self,
        landmarker: Landmarker,
        learning_rate: float = 1e-3,
        warmup: float = 0.1,
        weight_decay: float = 0.0,
        continue_from_start: bool = False,
        milestones: Sequence[int] = (),
    ) -> None:
        super().__init__(landmarker)
        at_least(0, learning_rate=learning_rate, weight_decay=weight_decay)
        shares(warmup=warmup)
        for milestone in milestones:
            at_least(1, milestones=milestone)
        self.needs_pretraining = continue_from_start  # type: ignore[misc]  # of this one
        self.learning_rate, self.warmup, self.weight_decay = learning_rate, warmup, weight_decay
        self.milestones = list(milestones)

    def setup(self, stage: str) -> None:
        """Also give a landmarker that begins here the source's labels under the plain crop, e.g. for its mean face.

        One that goes on from a start has learned with those of its own, to which its head is tuned.
        """
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None and not self.needs_pretraining:
            self.landmarker.fit_shapes(data.source_shapes().to(self.device))

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """The landmarker's own loss on a batch of labelled faces."""
        loss = self.supervised_loss(batch.source)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.source))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over the whole run, or under one that falls at the milestones."""
        parameters = self.landmarker.parameters()
        optimizer = self.adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, decoupled=True)
        if self.milestones:
            falling = torch.optim.lr_scheduler.MultiStepLR(optimizer, self.milestones, STEP_FACTOR)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "epoch"}}
        # OneCycleLR divides by the lengths of the rise and the fall, each less a step, which must not be 0.
        steps = max(3, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=steps,
            pct_start=max(self.warmup, 2 / steps),
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
