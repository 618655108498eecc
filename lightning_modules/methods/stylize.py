"""Learning from photos made into caricatures: exact labels, in the target's shapes and in the target's look."""

from typing import Any

from torch import Tensor

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.augment.stylization import Stylization
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.methods.adaptation import Adaptation


class Stylize(Adaptation):
    """Train on labelled photos given the target's look and exaggerated geometry.

    The target's images are not trained on: photos take their colours and amplitudes, and are warped towards the
    landmarker's current estimates on them. However wrong an estimate, the warped photo's labels are exact.

    Args:
        landmarker: the network, pretrained on the source.
        stylization: how photos are stylised; None leaves them as they are.
        freeze_batch_norm: keep the batch-norm statistics of the pretraining.
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
            shapes: landmarks of those, crop coordinates, ``(B, 68, 2)``; the landmarker's estimates if None.
        """
        if self.stylization is None:
            return photos
        if shapes is None and self.stylization.needs_shapes:
            shapes, _ = estimate(self.landmarker, drawings.images, mirror_average=False)
        return self.stylization(photos, drawings.images, shapes, self.mean_face)
