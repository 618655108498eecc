"""From crops to landmarks: the one way that evaluation, pseudo landmarks and prediction take."""

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.ibug68 import FLIP_PERMUTATION, OUTER_EYE_CORNERS
from lightning_modules.coordinates import mirrored, to_image_pixels
from lightning_modules.landmarkers.base import Landmarker, evaluating


class Found(NamedTuple):
    """A landmarker's estimates on B faces.

    Attributes:
        pixels: landmarks in the original images' pixels, shape ``(B, 68, 2)``, float64.
        crop: the same in crop coordinates, shape ``(B, 68, 2)``.
        disagreement: mean distance between the estimates on the crop and on its mirror image, over the inter-ocular
            distance, shape ``(B,)``; 0 without the mirror image.
    """

    pixels: Tensor
    crop: Tensor
    disagreement: Tensor


def find_landmarks(landmarker: Landmarker, images: Tensor, matrices: Tensor, mirror_average: bool = False) -> Found:
    """Landmarks of faces in their original images, see :func:`estimate`.

    Args:
        landmarker: the network.
        images: square crops, RGB in [0, 1], shape ``(B, 3, S, S)``.
        matrices: from the original images' pixels to the crops', shape ``(B, 2, 3)``.
        mirror_average: average the estimates on each crop and on its mirror image.
    """
    crop, disagreement = estimate(landmarker, images, mirror_average)
    return Found(to_image_pixels(crop, matrices, images.shape[-1]), crop, disagreement)


@torch.no_grad()
def estimate(landmarker: Landmarker, images: Tensor, mirror_average: bool = True) -> tuple[Tensor, Tensor]:
    """Landmarks in crop coordinates, ``(B, 68, 2)``, and the disagreement of crop and mirror image, see :class:`Found`.

    The landmarker is in evaluation mode meanwhile, and nothing of it is left for a training pass: no gradient, no
    batch-norm statistics.
    """
    with evaluating(landmarker):
        landmarks = landmarker(images).landmarks.float()
        mirror = landmarker(images.flip(-1)).landmarks.float() if mirror_average else None
    # Autocast caches the weights it has cast to bf16; those cast under no_grad would give a training pass no gradient.
    torch.clear_autocast_cache()
    if mirror is None:
        return landmarks, landmarks.new_zeros(len(landmarks))
    of_mirror = mirror_landmarks(mirror, images.shape[-1])
    mean = (landmarks + of_mirror) / 2
    left, right = OUTER_EYE_CORNERS
    interocular = (mean[:, left] - mean[:, right]).norm(dim=-1).clamp(min=1e-3)
    return mean, (landmarks - of_mirror).norm(dim=-1).mean(-1) / interocular


def mirror_landmarks(landmarks: Tensor, size: int) -> Tensor:
    """Landmarks of the mirrored crop of ``size`` pixels, crop coordinates ``(..., 68, 2)``; left and right swap."""
    return mirrored(landmarks[..., list(FLIP_PERMUTATION), :], size)
