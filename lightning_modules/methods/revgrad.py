"""Gradient reversal: features from which photos and drawings cannot be told apart.

Source: Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML 2015.
"""

import math
from typing import Any

import torch
from torch import Tensor

from datamodules.faces import TrainBatch
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput, evaluating
from lightning_modules.methods.adaptation import LANDMARKER, Adaptation
from lightning_modules.methods.discriminators import DomainClassifier, judgement_loss

CLASSIFIER = 1
"""Place of the domain classifier's optimizer."""


class RevGrad(Adaptation):
    """Train on labelled photos, and against a domain classifier on the landmarker's shared features.

    One loss and one backward pass: the classifier descends its cross entropy; below it the gradient is reversed, so the
    features ascend it, with a weight that grows over the run (:func:`reversal_strength`). The paper has one SGD over
    both networks, here each has an Adam.

    Args:
        landmarker: the network, pretrained on the source.
        domain_weight: of the cross entropy. The paper's is 1, beside a cross entropy over classes.
        width: of the classifier's hidden layers.
        dropout: in the classifier.
        classifier_learning_rate: Adam's over the classifier; it follows the landmarker's schedule.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.

    Raises:
        NotImplementedError: the landmarker does not say which feature map it shares.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        domain_weight: float = 1.0,
        width: int = 1024,
        dropout: float = 0.5,
        classifier_learning_rate: float = 3e-4,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, **options)
        self.domain_weight, self.classifier_learning_rate = domain_weight, classifier_learning_rate
        self.classifier = DomainClassifier(feature_channels(landmarker), width, dropout)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One step of the landmarker and the classifier together."""
        assert batch.target is not None, "the setting has a target"
        output, loss = self.pass_both(batch.source, batch.target.images)
        strength, size = reversal_strength(self.progress), len(batch.source)
        features = shared_features(self.landmarker, torch.cat([batch.source.images, batch.target.images]), output)
        domain = self.domain_loss(features, size, strength)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=size)
        self.log("train/domain_loss", domain.detach(), prog_bar=True, batch_size=size)
        self.log("train/reversal_strength", torch.full_like(domain.detach(), strength), batch_size=size)
        self.update(loss + self.domain_weight * domain, LANDMARKER, CLASSIFIER)

    def domain_loss(self, features: Tensor, photos: int, strength: float) -> Tensor:
        """The classifier's mean cross entropy, a scalar; its gradient with respect to the features is reversed.

        Args:
            features: of photos, then drawings, shape ``(B, C, h, w)``.
            photos: how many of them are photos'.
            strength: λ of the reversal.
        """
        logits = self.classifier(reverse_gradient(features, strength))
        shares = photos / len(logits), 1 - photos / len(logits)
        return shares[0] * judgement_loss(logits[:photos], True) + shares[1] * judgement_loss(logits[photos:], False)

    def learning_rate_of(self, place: int) -> float:
        """Both follow the schedule."""
        return (self.learning_rate if place == LANDMARKER else self.classifier_learning_rate) * self.decay

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the classifier."""
        return [self.adam(self.classifier.parameters(), lr=self.classifier_learning_rate)]


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """The same values, of any shape; the gradient that comes back is multiplied by ``-strength`` (λ)."""
    reversed_ = features.view_as(features)
    if reversed_.requires_grad:
        reversed_.register_hook(lambda gradient: -strength * gradient)  # type: ignore[no-untyped-call]
    return reversed_


def reversal_strength(progress: float, steepness: float = 10.0) -> float:
    """λ over a run: 2 / (1 + exp(-γ p)) - 1, from 0 to nearly 1, as an untrained classifier's gradient is noise.

    Args:
        progress: p, the share of the run that is done.
        steepness: γ.
    """
    return 2 / (1 + math.exp(-steepness * progress)) - 1


def shared_features(landmarker: Landmarker, images: Tensor, output: LandmarkerOutput) -> Tensor:
    """The shared feature map of images: that of the pass that gave ``output``, if it holds one, else of another pass.

    Raises:
        NotImplementedError: the landmarker does not say which feature map it shares.
    """
    return landmarker.features(images) if output.features is None else output.features


def feature_channels(landmarker: Landmarker) -> int:
    """How many channels a landmarker's shared feature map has, found with a blank crop."""
    with torch.no_grad(), evaluating(landmarker):
        blank = landmarker.blank_crop()
        return shared_features(landmarker, blank, landmarker(blank)).shape[1]
