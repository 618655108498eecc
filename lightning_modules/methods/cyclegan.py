"""CycleGAN as a rival: photos in the target's style keep their labels (Zhu et al., ICCV 2017)."""

from dataclasses import replace
from typing import Any, Self

import torch

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.translation import Translator


class CycleGAN(Adaptation):
    """Train the landmarker on labelled photos, some of them translated to the target's style.

    The translator is trained before, by itself, and fixed here: target faces teach the landmarker through it alone.

    Args:
        landmarker: the network, pretrained on the source.
        translator: its networks (the command line trains them).
        translated_share: share of each batch's photos that are translated.
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
        if not 0 <= translated_share <= 1:
            raise ValueError(f"translated_share is {translated_share}; expected a share in [0, 1].")
        self.translator, self.translated_share = translator, translated_share

    def setup(self, stage: str) -> None:
        """Also fix the translator."""
        super().setup(stage)
        self.translator.requires_grad_(False)

    def on_train_start(self) -> None:
        """Have nothing in the translator vary (Lightning wants all modules in training mode until here)."""
        self.translator.eval()

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode, but for the translator, which has learned."""
        super().train(mode)
        self.translator.eval()
        return self

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step on the labels of photos, the first of which are translated."""
        loss = self.supervised_loss(self.translated(batch.source))
        self.update(loss)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.source))

    def translated(self, photos: FaceBatch) -> FaceBatch:
        """The batch with its first photos in the target's style, as many as ``translated_share`` says."""
        return translated(photos, self.translator, self.translated_share)


@torch.no_grad()
def translated(photos: FaceBatch, translator: Translator, share: float) -> FaceBatch:
    """A batch with its first photos, ``share`` of all, in the target's style; labels stay where they are."""
    count = round(share * len(photos))
    if count == 0:
        return photos
    images = translator.to_target(photos.images[:count]).to(photos.images.dtype)
    return replace(photos, images=torch.cat([images, photos.images[count:]]))
