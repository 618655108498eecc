"""Masks of the stylised crop for the image terms: the face's region, and where the photo has pixels."""

import math

import torch
from torch import Tensor

from lightning_modules.coordinates import pixel_grid

_DIRECTIONS = 64
"""Number of half-planes whose intersection stands for the hull; it is too wide by at most 1 - cos(π / 64), a thousandth
of the face."""


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
        # A point is inside the hull if, in every direction, the outermost landmark lies at least as far out.
        angle = 2 * math.pi * k / _DIRECTIONS
        x, y = math.cos(angle), math.sin(angle)
        outermost = (landmarks[..., 0] * x + landmarks[..., 1] * y).amax(dim=1)
        beyond = (pixels[..., 0] * x + pixels[..., 1] * y) - outermost[:, None, None]
        distance = torch.maximum(distance, beyond)
    distance = distance - margin
    mask = torch.sigmoid(-distance / softness) if softness else (distance <= 0).to(distance.dtype)
    return mask.unsqueeze(1)


def inside_photo(field: Tensor, photo_size: int | None = None) -> Tensor:
    """Mask of the stylised crop's pixels that take their colour from within the photo.

    Args:
        field: crop coordinates in the photo, shape ``(B, S, S, 2)``.
        photo_size: side of the photo in pixels; the field's own side if None.

    Returns:
        1 where the photo coordinate lies between the centres of its outermost pixels, so that padding plays no part,
        and 0 elsewhere; shape ``(B, 1, S, S)``, without gradient.
    """
    size = photo_size or field.shape[1]
    # A thousandth of a pixel of slack, so that rounding does not put the identity's own border outside.
    pixels = field.detach() * size
    inside = ((pixels >= -1e-3) & (pixels <= size - 1 + 1e-3)).all(dim=-1)
    return inside.unsqueeze(1).to(field.dtype)
