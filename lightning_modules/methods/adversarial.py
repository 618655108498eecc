"""What the adversarial methods share: one pass over photos and drawings, and what a landmarker's output is like."""

import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput, evaluating
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.methods.pseudo import pass_with_pseudo

DISCRIMINATOR = 1
"""Place of the optimizer of what tells photos from drawings."""


class Adversarial(Adaptation):
    """Base of methods in which a network learns to tell photos from drawings, and the landmarker to deceive it."""

    def pass_both(
        self, photos: FaceBatch, drawings: FaceBatch, pseudo: tuple[Tensor, Tensor] | None = None
    ) -> tuple[LandmarkerOutput, Tensor]:
        """One pass over photos and drawings together, so that both meet the same batch-norm statistics.

        Args:
            photos: labelled.
            drawings: unlabelled.
            pseudo: the drawings' pseudo landmarks (crop coordinates, ``(N, 68, 2)``) and how much each counts beside a
                photo's 1, ``(N,)``.

        Returns:
            The output for the photos, then the drawings; and the landmarker's own loss, a scalar: the photos' mean,
            and with pseudo landmarks the weighted sum of the drawings' over the number of photos.
        """
        assert photos.landmarks is not None, "the source is labelled"
        labels = photos.landmarks
        # Drawings without pseudo landmarks count for nothing against any.
        target, weight = pseudo or (labels[:1].expand(len(drawings), -1, -1), labels.new_zeros(len(drawings)))
        return pass_with_pseudo(self.landmarker, photos.images, labels, drawings.images, target, weight)


def shared_features(landmarker: Landmarker, images: Tensor, output: LandmarkerOutput) -> Tensor:
    """The shared feature map of images, from the pass that gave ``output`` where it is kept, or else from another.

    Raises:
        NotImplementedError: the landmarker does not say which feature map it shares.
    """
    return landmarker.features(images) if output.features is None else output.features


def feature_channels(landmarker: Landmarker) -> int:
    """Channels of its shared feature map."""
    with torch.no_grad(), evaluating(landmarker):
        images = _blank(landmarker)
        return shared_features(landmarker, images, landmarker(images)).shape[1]


def stage_count(landmarker: Landmarker) -> int:
    """How many stages its output has."""
    with torch.no_grad(), evaluating(landmarker):
        stages: Tensor = landmarker(_blank(landmarker)).stages
    return stages.shape[1]


def _blank(landmarker: Landmarker) -> Tensor:
    """A crop with nothing on it, where the landmarker lives."""
    return next(landmarker.parameters()).new_zeros(1, 3, landmarker.image_size, landmarker.image_size)
