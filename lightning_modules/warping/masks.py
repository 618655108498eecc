"""Masks of the stylised crop for the image terms: the face's region, and where the photo has pixels."""

import math

import torch
from torch import Tensor

from lightning_modules.devices import constant

_DIRECTIONS = tuple((math.cos(2 * math.pi * k / 64), math.sin(2 * math.pi * k / 64)) for k in range(64))
"""Normals of the half-planes whose intersection stands for the hull; it is too wide by at most 1 - cos(π / 64), a
thousandth of the face."""
_PIECE_ON_CPU = 2**18
"""Distances computed at a time: 1 MiB, which stays in the cache."""
_PIECE = 2**26
"""The same on other devices."""


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
    # A point is inside the hull if, in every direction, the outermost landmark lies at least as far out. Distances from
    # a column's part and a row's, not from a matrix product, which may be rounded to TF32 (a tenth of a pixel).
    x, y = constant(_DIRECTIONS, landmarks.device, landmarks.dtype).unbind(dim=1)
    outermost = (landmarks[..., 0, None] * x + landmarks[..., 1, None] * y).amax(dim=1)
    ticks = torch.arange(size, device=landmarks.device, dtype=landmarks.dtype) / size
    across, down = x[:, None] * ticks, y[:, None] * ticks - (outermost + margin)[..., None]
    distance = torch.cat([_farthest(across, rows) for rows in torch.split(down, _rows_at_once(down), dim=2)], dim=1)
    mask = torch.sigmoid(-distance / softness) if softness else (distance <= 0).to(distance.dtype)
    return mask.unsqueeze(1)


def _farthest(across: Tensor, down: Tensor) -> Tensor:
    """Greatest over the directions of their sum, shapes ``(K, W)`` and ``(B, K, h)`` to ``(B, h, W)``."""
    return (across[:, None] + down[..., None]).amax(dim=1)


def _rows_at_once(down: Tensor) -> int:
    batch, directions, size = down.shape
    limit = _PIECE_ON_CPU if down.device.type == "cpu" else _PIECE
    return max(1, min(size, limit // (batch * directions * size)))


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
