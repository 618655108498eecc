"""Training a translator by itself, on photos and stylised faces that nothing pairs."""

from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from datamodules.faces import TrainBatch
from datamodules.setting import steps_done
from lightning_modules.translation.image_pool import ImagePool
from lightning_modules.translation.translator import SOURCE, TARGET, FurtherTerms, Translator, linear_decay

GENERATORS, DISCRIMINATORS = 0, 1


class TranslatorTraining(LightningModule):
    """One Adam over both generators and one over both discriminators, a step of each on every batch.

    Args:
        translator: changed in place.
        learning_rate: Adam's, of both.
        decay_from: share of the run after which the learning rate falls along a line, to 0 at the end.
        pool_size: translations that each discriminator's pool holds; 0 for none.
        further: more terms of the generators' objective.
    """

    needs_target = True
    phase = "translator"
    """For the progress bar."""

    def __init__(
        self,
        translator: Translator,
        learning_rate: float = 2e-4,
        decay_from: float = 0.5,
        pool_size: int = 50,
        further: FurtherTerms | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        # A method may have fixed it.
        self.translator = translator.requires_grad_(True).train()
        self.pools = nn.ModuleDict({style: ImagePool(pool_size) for style in (TARGET, SOURCE)})
        self.learning_rate, self.decay_from, self.further = learning_rate, decay_from, further

    @property
    def progress(self) -> float:
        """Share of the run's training steps that are done."""
        return steps_done(self.trainer) / (self.trainer.num_training_batches * (self.trainer.max_epochs or 1))

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step of the generators, then one of the discriminators on what they made, or made earlier."""
        assert batch.target is not None, "translators learn from target faces"
        photos, stylised = batch.source.images, batch.target.images
        loss = self.translator.generator_loss(photos, stylised, self.further)
        self._update(GENERATORS, loss.total)
        seen = self.pools[TARGET](loss.images.to_target), self.pools[SOURCE](loss.images.to_source)
        critics = self.translator.discriminator_loss(photos, stylised, *seen)
        self._update(DISCRIMINATORS, critics)
        terms = {**loss.terms, "discriminators": critics}
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))

    def _update(self, which: int, loss: Tensor) -> None:
        optimizer = cast(list[LightningOptimizer], self.optimizers())[which]
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * linear_decay(self.progress, self.decay_from)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        """Adam with the published betas, for generators and for discriminators."""
        parts = (self.translator.generators, self.translator.discriminators)
        return [torch.optim.Adam(part.parameters(), lr=self.learning_rate, betas=(0.5, 0.999)) for part in parts]
