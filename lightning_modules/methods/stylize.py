"""Learning from photos made into caricatures: exact labels, in the target's shapes and in the target's look."""

from typing import Any

import torch
from torch import Tensor

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.augment.stylization import Stylization, landmarks_of
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.adaptation import Adaptation


class Stylize(Adaptation):
    """Train on labelled photos given the target's look and exaggerated geometry.

    The target is not learned from directly: its images lend colours and amplitudes, and the landmarker's own current
    predictions on them say which shapes to warp photos to. Labels stay exact whatever those are worth.

    Args:
        landmarker: the network, pretrained on the source.
        stylization: how photos are stylised; None leaves them as they are.
        freeze_batch_norm: keep batch-norm statistics as the pretraining left them, those of photos.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        stylization: Stylization | None = None,
        freeze_batch_norm: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, **options)
        self.stylization, self.freeze_batch_norm = stylization, freeze_batch_norm
        self.register_buffer("mean_face", torch.zeros(68, 2), persistent=False)
        self.mean_face: Tensor

    def setup(self, stage: str) -> None:
        """Also take the mean face of the source, which exaggeration works from."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            self.mean_face.copy_(data.source_shapes().mean(0))

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One step on stylised photos."""
        assert batch.target is not None, "the setting has a target"
        self.train_batch_norm(not self.freeze_batch_norm)
        loss = self.supervised_loss(self.stylized(batch.source, batch.target))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.source))
        self.update(loss)

    def stylized(self, photos: FaceBatch, drawings: FaceBatch, shapes: Tensor | None = None) -> FaceBatch:
        """Photos stylised after the stylised faces they are paired with; their labels go where their pixels go.

        Args:
            photos: labelled crops.
            drawings: as many stylised faces.
            shapes: landmarks of those, ``(B, 68, 2)``; what the landmarker says of them if None.
        """
        if self.stylization is None:
            return photos
        if shapes is None:
            shapes = landmarks_of(self.landmarker, drawings.images)
        return self.stylization(photos, drawings.images, shapes, self.mean_face)
