"""Sampling of images and feature maps at any coordinates: the one call of ``grid_sample``.

On a CPU torch takes a coordinate that is not a number for an index and ends the process (a segmentation fault, in its
backward pass with borders repeated). Predictions of a network can be anything, so coordinates are looked at first.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.devices import surely_numbers

Padding = Literal["border", "zeros"]


def sample(
    images: Tensor, places: Tensor, padding: Padding, mode: str = "bilinear", align_corners: bool = False
) -> Tensor:
    """Images at given places; where a place is not a number, neither is the result, and it has no gradient.

    Any other place is fine, however far outside. Values and gradients are those of ``grid_sample``, bit for bit.

    Args:
        images: shape ``(B, C, H, W)``.
        places: in ``grid_sample``'s frame, of the images' type, shape ``(B, h, w, 2)``.
        padding: what is sampled outside the images: their border's values, or zeros.
        mode: of interpolation: ``bilinear`` or ``bicubic``.
        align_corners: whether -1 and 1 mean the centres of the outermost pixels, not their outer edges.

    Returns:
        Shape ``(B, C, h, w)``.
    """
    if surely_numbers(places):
        return F.grid_sample(images, places, mode, padding, align_corners)
    known = ~places.isnan().any(dim=-1, keepdim=True)
    sampled = F.grid_sample(images, torch.where(known, places, 0), mode, padding, align_corners)
    return torch.where(known.permute(0, 3, 1, 2), sampled, torch.nan)
