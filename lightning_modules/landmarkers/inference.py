"""From crops to landmarks: the one way that evaluation, pseudo landmarks and prediction take."""

import torch
from torch import Tensor

from datamodules.ibug68 import FLIP_PERMUTATION, OUTER_EYE_CORNERS
from lightning_modules.landmarkers.base import Landmarker


def mirror_landmarks(landmarks: Tensor, size: int) -> Tensor:
    """Landmarks of the mirrored crop, crop coordinates ``(…, 68, 2)``: pixel centre x becomes ``size - 1 - x``."""
    mirrored = landmarks[..., list(FLIP_PERMUTATION), :]
    return torch.stack([(size - 1) / size - mirrored[..., 0], mirrored[..., 1]], dim=-1)


def estimate(landmarker: Landmarker, images: Tensor, mirror_average: bool = True) -> tuple[Tensor, Tensor]:
    """Landmarks ``(B, 68, 2)`` and, per face, how far crop and mirror image disagree over inter-ocular distance."""
    landmarks = landmarker(images).landmarks.float()
    if not mirror_average:
        return landmarks, landmarks.new_zeros(len(landmarks))
    mirrored = mirror_landmarks(landmarker(images.flip(-1)).landmarks.float(), images.shape[-1])
    mean = (landmarks + mirrored) / 2
    left, right = OUTER_EYE_CORNERS
    interocular = (mean[:, left] - mean[:, right]).norm(dim=-1).clamp(min=1e-3)
    return mean, (landmarks - mirrored).norm(dim=-1).mean(-1) / interocular
