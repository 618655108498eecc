"""Adversarial adaptation of the output: landmarks on drawings arranged as on photos (AdaptSegNet).

Source: Tsai et al., "Learning to adapt structured output space for semantic segmentation", CVPR 2018.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.methods.adaptation import LANDMARKER, Adaptation
from lightning_modules.methods.discriminators import LandmarkDiscriminator, judgement_loss

DISCRIMINATOR = 1
"""Place of the discriminators' optimizer."""


class AdaptSegNet(Adaptation):
    """Train on labelled photos, and against discriminators that are given the landmarks of the last stages.

    In each step the landmarker learns the photos' labels, and that the discriminators take its landmarks on drawings
    for a photo's; then the discriminators learn to tell the two apart. The paper's discriminators see class scores of
    a segmentation, from its last and an earlier layer; these see landmarks drawn as Gaussians, of the last stage and
    the one before. A landmarker with one stage has one discriminator.

    Args:
        landmarker: the network, pretrained on the source.
        stage_weights: of deceiving each discriminator: of the stage before the last, and of the last.
        map_size: side of the landmark maps in cells.
        sigma: standard deviation of their Gaussians in cells.
        width: of the discriminators' first convolution.
        discriminator_learning_rate: Adam's over the discriminators, at first; it falls as ``(1 - p) ** power`` over the
            run.
        power: exponent of that decay.
        options: learning rate, schedule and clipping of the landmarker, see :class:`Adaptation`.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        stage_weights: Sequence[float] = (2e-4, 1e-3),
        map_size: int = 64,
        sigma: float = 1.5,
        width: int = 64,
        discriminator_learning_rate: float = 1e-4,
        power: float = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, **options)
        self.stage_weights = tuple(stage_weights)[-stage_count(landmarker) :]
        self.discriminators = nn.ModuleList(LandmarkDiscriminator(map_size, sigma, width) for _ in self.stage_weights)
        self.discriminator_learning_rate, self.power = discriminator_learning_rate, power

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step of the landmarker, then one of the discriminators on what it found."""
        assert batch.target is not None, "the setting has a target"
        self.adapt(batch.source, batch.target)

    def adapt(self, labelled: FaceBatch, unlabelled: FaceBatch, pseudo: tuple[Tensor, Tensor] | None = None) -> None:
        """Both steps; the unlabelled faces may have pseudo landmarks, see :meth:`Adaptation.pass_both`."""
        size = len(labelled)
        output, loss = self.pass_both(labelled, unlabelled.images, pseudo)
        photos, drawings = output.stages[:size], output.stages[size:]
        deceiving = self.deceiving_loss(drawings)
        self.update(loss + deceiving)
        telling = self.telling_loss(photos, drawings)
        self.update(telling, DISCRIMINATOR)
        for name, value in {"loss": loss, "deceiving": deceiving, "telling": telling}.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=size)

    def deceiving_loss(self, stages: Tensor) -> Tensor:
        """Weighted cross entropy of drawings' landmarks, all stages', ``(B, S, 68, 2)``, being judged as a photo's."""
        judged = zip(self.stage_weights, self._judge(stages), strict=True)
        return torch.stack([weight * judgement_loss(logits, photo=True) for weight, logits in judged]).sum()

    def telling_loss(self, photos: Tensor, drawings: Tensor) -> Tensor:
        """The discriminators' own cross entropy, summed over stages; the landmarker gets no gradient from it.

        Args:
            photos: all stages' landmarks on photos, crop coordinates, shape ``(B, S, 68, 2)``.
            drawings: the same on drawings.
        """
        losses = [
            (judgement_loss(real, photo=True) + judgement_loss(other, photo=False)) / 2
            for real, other in zip(self._judge(photos.detach()), self._judge(drawings.detach()), strict=True)
        ]
        return torch.stack(losses).sum()

    def _judge(self, stages: Tensor) -> list[Tensor]:
        """Each discriminator's logits, of the last stages."""
        first = stages.shape[1] - len(self.discriminators)
        return [judge(stages[:, first + k]) for k, judge in enumerate(self.discriminators)]

    def learning_rate_of(self, place: int) -> float:
        """The landmarker's follows the schedule; the discriminators' falls as the paper's, see :class:`AdaptSegNet`."""
        if place == LANDMARKER:
            return super().learning_rate_of(place)
        return self.discriminator_learning_rate * math.pow(1 - self.progress, self.power)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the discriminators, with the published betas."""
        parameters = self.discriminators.parameters()
        return [self.adam(parameters, lr=self.discriminator_learning_rate, betas=(0.9, 0.99))]


def stage_count(landmarker: Landmarker) -> int:
    """How many stages a landmarker's output has, found with a blank crop."""
    with torch.no_grad(), evaluating(landmarker):
        return int(landmarker(landmarker.blank_crop()).stages.shape[1])
