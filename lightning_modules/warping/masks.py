"""The region of a face, from its landmarks: where the image terms of the warping objective look."""

import math

import torch
from torch import Tensor

from lightning_modules.coordinates import pixel_grid

_DIRECTIONS = 64
"""Half-planes that bound the hull; the mask is at most 1 - cos(π / 64), a thousandth of the face, too wide."""


@torch.no_grad()
def face_region_mask(landmarks: Tensor, size: int, softness: float = 0.0, margin: float = 0.0) -> Tensor:
    """Mask of the landmarks' convex hull.

    Args:
        landmarks: crop coordinates, shape ``(B, K, 2)``; for a mask on the stylised face, its predicted landmarks.
        size: side of the mask in pixels.
        softness: width of the edge in crop coordinates: the mask is ``sigmoid(-d / softness)`` of the signed distance
            d to the hull. 0 gives a hard mask.
        margin: grow the hull by this much, in crop coordinates (e.g. 0.05 to take in some forehead).

    Returns:
        Values in [0, 1], 1 inside, shape ``(B, 1, size, size)``, without gradient (a mask that followed the landmarks
        could lower a loss by shrinking).

    Raises:
        ValueError: the landmarks' shape is wrong or ``softness`` is negative.
    """
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2:
        raise ValueError(f"landmarks are {tuple(landmarks.shape)}; expected (B, K, 2).")
    if softness < 0:
        raise ValueError(f"softness is {softness}; it must be 0 (a hard mask) or more.")
    landmarks = landmarks.to(torch.promote_types(landmarks.dtype, torch.float32))
    pixels = pixel_grid(size, landmarks.device, landmarks.dtype)
    distance = landmarks.new_full((len(landmarks), size, size), -torch.inf)
    for k in range(_DIRECTIONS):
        # The hull is where, in every direction, a pixel lies no further out than the outermost landmark.
        angle = 2 * math.pi * k / _DIRECTIONS
        x, y = math.cos(angle), math.sin(angle)
        outermost = (landmarks[..., 0] * x + landmarks[..., 1] * y).amax(dim=1)
        beyond = (pixels[..., 0] * x + pixels[..., 1] * y) - outermost[:, None, None]
        distance = torch.maximum(distance, beyond)
    distance = distance - margin
    mask = torch.sigmoid(-distance / softness) if softness else (distance <= 0).to(distance.dtype)
    return mask.unsqueeze(1)
