"""The CycleGAN baseline: photos in the target's style keep their labels (Zhu et al., ICCV 2017)."""

from dataclasses import replace
from typing import Any, Self

import torch

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.augment.selection import change_selected, require_share, select
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.translation import Translator


class CycleGAN(Adaptation):
    """Train the landmarker on labelled photos, some of them translated to the target's style.

    The translator is trained first and does not change here: the target's images reach the landmarker only through it.

    Args:
        landmarker: the network, pretrained on the source.
        translator: its networks (the command line trains them).
        translated_share: probability that a photo is translated.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.

    Raises:
        ValueError: ``translated_share`` is not in [0, 1].
    """

    needs_target = False
    needs_translator = True

    def __init__(
        self,
        landmarker: Landmarker,
        translator: Translator,
        translated_share: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, **options)
        self.translator, self.translated_share = translator, require_share("translated_share", translated_share)

    def setup(self, stage: str) -> None:
        """Also freeze the translator."""
        super().setup(stage)
        self.translator.requires_grad_(False)

    def on_train_start(self) -> None:
        """Put the translator in evaluation mode: not before, as Lightning warns of modules that start training so."""
        self.translator.eval()

    def train(self, mode: bool = True) -> Self:
        """Set all modules to training or evaluation mode but the translator, which stays in evaluation mode."""
        super().train(mode)
        self.translator.eval()
        return self

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step on the labels of photos, some of which are translated."""
        loss = self.supervised_loss(translated(batch.source, self.translator, self.translated_share))
        self.update(loss)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.source))


@torch.no_grad()
def translated(photos: FaceBatch, translator: Translator, share: float) -> FaceBatch:
    """A batch with each photo, with probability ``share``, in the target's style; labels stay where they are."""
    return replace(photos, images=change_selected(select(share, len(photos)), photos.images, translator.to_target))
