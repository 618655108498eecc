"""Pseudo landmarks: the target landmarks frozen when a warper phase ends (Algorithm 1, line 6)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from datamodules.faces import Face, FaceBatch, FloatArray
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.transforms import crop_square
from lightning_modules.coordinates import to_crop
from lightning_modules.devices import constant
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference, find_in_images
from lightning_modules.methods.pseudo.teachers import TOLERANCE, agreed


@dataclass
class PseudoLandmarks:
    """One estimate per target face.

    Attributes:
        landmarks: image pixels, shape ``(N, 68, 2)``, float32.
        weights: how much each face counts, shape ``(N,)``: 0 for faces left out, mean 1 over all; and times the trust
            in it, in [0, 1], where several landmarkers found it.
    """

    landmarks: Tensor
    weights: Tensor

    def lookup(self, batch: FaceBatch, size: int) -> tuple[Tensor, Tensor]:
        """The pseudo landmarks of a batch, under its own crops and augmentation.

        Args:
            batch: target faces, on their device; only ``indices``, ``matrices`` and ``flipped`` are read.
            size: side of the crops in pixels.

        Returns:
            Landmarks in crop coordinates ``(B, 68, 2)`` and weights ``(B,)``.
        """
        where = batch.indices
        landmarks = to_crop(self.landmarks[where], batch.matrices, size)
        mirrored = landmarks[:, constant(FLIP_PERMUTATION, landmarks.device)]
        return torch.where(batch.flipped[:, None, None], mirrored, landmarks).float(), self.weights[where]

    def to(self, device: torch.device | str) -> Self:
        """The same on ``device``; itself where it is there already."""
        if self.landmarks.device == torch.device(device):
            return self
        return replace(self, landmarks=self.landmarks.to(device), weights=self.weights.to(device))

    def boxes(self) -> FloatArray:
        """The smallest box ``(x0, y0, x1, y1)`` around each face's, image pixels, shape ``(N, 4)``."""
        corners = torch.cat([self.landmarks.amin(1), self.landmarks.amax(1)], dim=1)
        return corners.cpu().numpy()


def find_pseudo_landmarks(
    landmarkers: Sequence[Landmarker],
    faces: Iterable[Sequence[tuple[int, Face]]],
    count: int,
    device: torch.device,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    how: Inference = Inference(mirror=True),  # noqa: B008 - frozen
    keep: float = 1.0,
    tolerance: float = TOLERANCE,
) -> PseudoLandmarks:
    """Run landmarkers over the whole target set and keep what they find; of several, what they agree on.

    They run in evaluation mode, so that batch-norm statistics neither change nor depend on the batch. Each sees crops
    of its own factor, and crops again, where that is asked for, to what it finds itself.

    Args:
        landmarkers: one or more, see :func:`~lightning_modules.methods.pseudo.teachers.agreed`.
        faces: this process's share of the target faces, in batches, each with its place in the whole set.
        count: number of target faces over all processes.
        device: where tensors of all processes are gathered.
        gather: sums a tensor over all processes; each fills in its own faces and leaves the others zero.
        how: landmarks are found.
        keep: share of faces to keep; those whose estimates differ most get weight 0. Below 1 it needs several
            estimates of a face: of several landmarkers, or on its mirror image.
        tolerance: of several landmarkers' disagreement, see :func:`~lightning_modules.methods.pseudo.teachers.trust`.

    Raises:
        ValueError: ``keep`` is out of (0, 1], or below 1 with one estimate each; the batches left a face out.
    """
    several = len(landmarkers) > 1 or how.mirror or len(how.scales) > 1
    if not 0 < keep <= 1 or (keep < 1 and not several):
        raise ValueError(
            f"keep is {keep}; expected a share in (0, 1], and below 1 only with mirror_average: true or teachers."
        )
    landmarks = torch.zeros(count, 68, 2)
    found, disagreement, trusted = torch.zeros(count), torch.zeros(count), torch.zeros(count)
    for batch in faces:
        where = torch.tensor([place for place, _ in batch])
        images, squares = [face.image for _, face in batch], [crop_square(face) for _, face in batch]
        consensus = agreed([find_in_images(one, images, squares, how) for one in landmarkers], tolerance)
        landmarks[where], disagreement[where] = consensus.pixels, consensus.disagreement
        trusted[where], found[where] = consensus.trust, 1.0
    landmarks, disagreement, trusted, found = (
        gather(each.to(device)).cpu() for each in (landmarks, disagreement, trusted, found)
    )
    if not bool((found == 1).all()):
        raise ValueError(f"{int((found != 1).sum())} of {count} target faces have no pseudo landmarks, or several.")
    kept = torch.ones(count)
    if keep < 1:
        kept[disagreement.argsort()[max(1, round(keep * count)) :]] = 0
    return PseudoLandmarks(landmarks, trusted * kept / kept.mean())
