"""Pseudo landmarks: the target landmarks frozen when a warper phase ends (Algorithm 1, line 6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.coordinates import to_crop, to_image_pixels
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput, evaluating
from lightning_modules.landmarkers.inference import estimate


@dataclass
class PseudoLandmarks:
    """One estimate per target face.

    Attributes:
        landmarks: image pixels, shape ``(N, 68, 2)``, float32.
        weights: how much each face is trusted, shape ``(N,)``, mean 1 (0 for faces left out).
    """

    landmarks: Tensor
    weights: Tensor

    def lookup(self, batch: FaceBatch, size: int) -> tuple[Tensor, Tensor]:
        """The pseudo landmarks of a batch, under its own crops and augmentation.

        Args:
            batch: target faces; only ``indices``, ``matrices`` and ``flipped`` are read.
            size: side of the crops in pixels.

        Returns:
            Landmarks in crop coordinates ``(B, 68, 2)`` and weights ``(B,)``.
        """
        where = batch.indices.to(self.landmarks.device)
        landmarks = to_crop(self.landmarks[where], batch.matrices.to(self.landmarks.device), size)
        mirrored = landmarks[:, list(FLIP_PERMUTATION)]
        flipped = batch.flipped.to(landmarks.device)[:, None, None]
        device = batch.images.device
        return torch.where(flipped, mirrored, landmarks).float().to(device), self.weights[where].to(device)


@torch.no_grad()
def find_pseudo_landmarks(
    landmarker: Landmarker,
    loader: Iterable[FaceBatch],
    count: int,
    device: torch.device,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    mirror_average: bool = True,
    keep: float = 1.0,
) -> PseudoLandmarks:
    """Run the landmarker over the whole target set and freeze what it says.

    The landmarker is put in evaluation mode meanwhile, so that batch-norm neither learns from nor depends on the batch.

    Args:
        landmarker: the network.
        loader: this process's share of the target faces, plain crops.
        count: number of target faces over all processes.
        device: where the landmarker lives.
        gather: sums a tensor over all processes; each fills in its own faces and leaves the others zero.
        mirror_average: average the estimates on the crop and on its mirror image.
        keep: share of faces to keep; the ones on which crop and mirror image disagree most get weight 0.
            Below 1 it needs ``mirror_average``.

    Raises:
        ValueError: ``keep`` is out of (0, 1], or below 1 without ``mirror_average``; the loaders left a face out.
    """
    if not 0 < keep <= 1 or (keep < 1 and not mirror_average):
        raise ValueError(f"keep is {keep}; expected a share in (0, 1], and below 1 only with mirror_average: true.")
    landmarks = torch.zeros(count, 68, 2)
    found, disagreement = torch.zeros(count), torch.zeros(count)
    with evaluating(landmarker):
        for batch in loader:
            batch = batch.to(device)
            crop, spread = estimate(landmarker, batch.images, mirror_average)
            pixels = to_image_pixels(crop, batch.matrices, landmarker.image_size)
            where = batch.indices.cpu()
            landmarks[where], disagreement[where], found[where] = pixels.float().cpu(), spread.cpu(), 1.0
    landmarks, disagreement, found = (gather(t.to(device)).cpu() for t in (landmarks, disagreement, found))
    if not bool((found == 1).all()):
        raise ValueError(f"{int((found != 1).sum())} of {count} target faces have no pseudo landmarks, or several.")
    kept = torch.ones(count)
    if keep < 1:
        kept[disagreement.argsort()[max(1, round(keep * count)) :]] = 0
    return PseudoLandmarks(landmarks, kept / kept.mean())


def loss_with_pseudo(
    landmarker: Landmarker, photos: Tensor, labels: Tensor, faces: Tensor, pseudo: Tensor, weights: Tensor
) -> Tensor:
    """The loss of :func:`pass_with_pseudo`."""
    return pass_with_pseudo(landmarker, photos, labels, faces, pseudo, weights)[1]


def pass_with_pseudo(
    landmarker: Landmarker, photos: Tensor, labels: Tensor, faces: Tensor, pseudo: Tensor, weights: Tensor
) -> tuple[LandmarkerOutput, Tensor]:
    """The landmarker's own loss on photos' labels and on pseudo landmarks, in one forward pass (eq. 5).

    Args:
        landmarker: the network.
        photos: labelled crops, shape ``(B, 3, S, S)``.
        labels: crop coordinates, shape ``(B, 68, 2)``.
        faces: target crops, shape ``(N, 3, S, S)``.
        pseudo: crop coordinates, shape ``(N, 68, 2)``.
        weights: how much each of them counts beside a photo's 1, shape ``(N,)``.

    Returns:
        The output for the photos, then the target faces; and the sum of the photos' mean loss and the weighted target
        faces' (their sum over B), a scalar.
    """
    output: LandmarkerOutput = landmarker(torch.cat([photos, faces]))
    weights = torch.cat([weights.new_ones(len(photos)), weights])
    loss = landmarker.loss(output, torch.cat([labels, pseudo]), weights)
    # From the weighted mean over all faces.
    return output, loss * (weights.sum() / len(photos))
