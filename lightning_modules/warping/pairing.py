"""Which photo of a batch is warped onto which stylised face.

A warp from a face turned left to one turned right has to invent one cheek and hide the other; the image term then
measures the difference in pose rather than the landmarks.
"""

from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor

_LEFT: Final = (0, 36)
"""Upper end of the jaw line and outer corner of the eye, at smaller x in a frontal face (iBUG-68)."""
_RIGHT: Final = (16, 45)
_NOSE_TIP: Final = 30


class Pairing(ABC):
    """How photos and stylised faces of a batch are paired."""

    @abstractmethod
    def __call__(self, photo_landmarks: Tensor, predicted: Tensor) -> Tensor:
        """Pair a batch, without gradient.

        Args:
            photo_landmarks: the photos' landmarks, crop coordinates, shape ``(B, 68, 2)``.
            predicted: landmarks predicted on the stylised faces, crop coordinates, shape ``(B, 68, 2)``.

        Returns:
            A permutation of 0 … B - 1, int64, shape ``(B,)``: photo ``order[i]`` goes with stylised face ``i``.
        """


class InOrder(Pairing):
    """In the loader's order, which is random."""

    def __call__(self, photo_landmarks: Tensor, predicted: Tensor) -> Tensor:
        """0 … B - 1."""
        return torch.arange(len(predicted), device=predicted.device)


class SimilarPose(Pairing):
    """By pose: the pairing of a batch with the smallest sum of squared differences of :func:`yaw`.

    In one dimension the optimal assignment under any convex cost pairs by rank, so two sorts find it (Santambrogio,
    Optimal Transport for Applied Mathematicians, th. 2.9).
    """

    @torch.no_grad()
    def __call__(self, photo_landmarks: Tensor, predicted: Tensor) -> Tensor:
        """The k-th photo by yaw goes with the k-th stylised face by yaw; ties keep the loader's order."""
        photos = yaw(photo_landmarks).argsort(stable=True)
        stylised = yaw(predicted).argsort(stable=True)
        return torch.empty_like(photos).scatter_(0, stylised, photos)


def yaw(landmarks: Tensor) -> Tensor:
    """How far a face is turned to the side, from its landmarks: about proportional to the tangent of its yaw.

    A side of the face is the mean of its jaw end and outer eye corner. The measure is the nose tip's distance from the
    middle between both sides, along the axis that joins them and in lengths of that axis, so it does not change when
    the face is moved, scaled or rotated within the image.

    Args:
        landmarks: iBUG-68, any frame with y down, shape ``(B, 68, 2)``.

    Returns:
        0 for a frontal face, about ±0.3 at 35°, positive where the nose points to larger x; finite for any landmarks,
        0 where they coincide or are not finite; float32 or better, shape ``(B,)``.

    Raises:
        ValueError: the landmarks' shape is wrong.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
        raise ValueError(f"landmarks are {tuple(landmarks.shape)}; expected (B, 68, 2), in iBUG-68 order.")
    points = landmarks.to(torch.promote_types(landmarks.dtype, torch.float32))
    left, right = (torch.stack([points[:, place] for place in side], dim=1).mean(dim=1) for side in (_LEFT, _RIGHT))
    axis, nose = right - left, points[:, _NOSE_TIP] - (left + right) / 2
    # Floor for faces whose sides coincide: a thousandth of a crop, squared.
    turned = (nose * axis).sum(dim=-1) / axis.square().sum(dim=-1).clamp_min(1e-6)
    return torch.nan_to_num(turned, nan=0.0, posinf=0.0, neginf=0.0)
