"""Training a translator on unpaired photos and stylised faces."""

import torch
from torch import Tensor, nn

from datamodules.faces import TrainBatch
from lightning_modules.training import TrainingModule, linear_decay
from lightning_modules.translation.image_pool import ImagePool
from lightning_modules.translation.translator import SOURCE, TARGET, FurtherTerms, Translator

GENERATORS, DISCRIMINATORS = 0, 1
"""Places of the two optimizers."""


class TranslatorTraining(TrainingModule):
    """One Adam over both generators and one over both discriminators, a step of each on every batch.

    Args:
        translator: changed in place.
        learning_rate: Adam's, of both.
        decay_from: share of the run after which the learning rate falls along a line, to 0 at the end.
        pool_size: translated images that each discriminator's pool holds; 0 for none.
        further: more terms of the generators' objective.
    """

    needs_target = True
    phase_name = "translator"

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
        # A method may have frozen it.
        self.translator = translator.requires_grad_(True).train()
        self.pools = image_pools(pool_size)
        self.learning_rate, self.decay_from, self.further = learning_rate, decay_from, further

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step of both generators, then one of both discriminators."""
        assert batch.target is not None, "translators learn from target faces"
        photos, stylised = batch.source.images, batch.target.images
        translator_step(self, self.translator, self.pools, photos, stylised, (GENERATORS, DISCRIMINATORS), self.further)

    def learning_rate_of(self, place: int) -> float:
        """The same for both optimizers."""
        return self.learning_rate * linear_decay(self.progress, self.decay_from)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the generators and over the discriminators."""
        return translator_adams(self, self.translator, self.learning_rate)


def translator_step(
    module: TrainingModule,
    translator: Translator,
    pools: nn.ModuleDict,
    photos: Tensor,
    stylised: Tensor,
    places: tuple[int, int],
    further: FurtherTerms | None = None,
) -> None:
    """A step of the generators, then one of the discriminators on what those made now or earlier; logs all terms.

    Args:
        module: whose optimizers these are.
        translator: the networks.
        pools: of :func:`image_pools`.
        photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
        stylised: likewise; not paired with the photos.
        places: of the generators' optimizer and of the discriminators'.
        further: more terms of the generators' objective.
    """
    loss = translator.generator_loss(photos, stylised, further)
    module.update(loss.total, places[0])
    seen = pools[TARGET](loss.images.to_target), pools[SOURCE](loss.images.to_source)
    judging = translator.discriminator_loss(photos, stylised, *seen)
    module.update(judging, places[1])
    for name, value in {**loss.terms, "discriminators": judging}.items():
        module.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))


def image_pools(size: int) -> nn.ModuleDict:
    """A pool for each of the two discriminators, by style."""
    return nn.ModuleDict({style: ImagePool(size) for style in (TARGET, SOURCE)})


def translator_adams(
    module: TrainingModule, translator: Translator, learning_rate: float
) -> list[torch.optim.Optimizer]:
    """Adam with the published betas over both generators, and over both discriminators."""
    parts = (translator.generators, translator.discriminators)
    return [module.adam(part.parameters(), lr=learning_rate, betas=(0.5, 0.999)) for part in parts]
