"""Landmark losses shared by the landmarkers."""

import torch
from torch import Tensor

from datamodules.ibug68 import OUTER_EYE_CORNERS

SHORTEST_INTEROCULAR = 1e-3
"""Smallest distance that is divided by, in crop coordinates: labels whose outer eye corners coincide are faulty."""


def weighted_mean(per_face: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over faces, each counted ``weight`` times; 0 (with zero gradients) when all weights are 0.

    Args:
        per_face: one value per face, shape ``(B,)``.
        weight: shape ``(B,)``, not negative; 1 each if None.
    """
    if weight is None:
        return per_face.mean()
    weight = weight.to(per_face)
    total = weight.sum()
    return (per_face * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))


def interocular_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Inter-ocular-normalised L2: mean distance between landmarks over the target's outer eye corner distance.

    It is the loss of SLPT (Xia et al., CVPR 2022, eq. 11) and, times 100, the NME of the faces in the crop's frame.

    Args:
        predicted: crop coordinates, shape ``(B, ..., 68, 2)``; over the dimensions between (stages, layers) the mean
            is taken.
        target: crop coordinates, shape ``(B, 68, 2)``.
        weight: how much each face counts, shape ``(B,)``; 1 each if None.

    Returns:
        A float32 scalar (also under autocast: distances of a few thousandths do not survive half precision).
    """
    predicted, target = predicted.float(), target.float()
    left, right = OUTER_EYE_CORNERS
    interocular = torch.linalg.vector_norm(target[:, left] - target[:, right], dim=-1).clamp_min(SHORTEST_INTEROCULAR)
    aligned = target.reshape(len(target), *[1] * (predicted.dim() - target.dim()), *target.shape[1:])
    distances = torch.linalg.vector_norm(predicted - aligned, dim=-1)
    return weighted_mean(distances.flatten(1).mean(1) / interocular, weight)
