"""Dense warping fields: photos sampled at them, and where they fold over.

A dense field is a tensor of shape ``(B, S, S, 2)``: for every pixel of the stylised crop, the photo coordinate (x, y)
it takes its colour from, both in crop coordinates (:mod:`lightning_modules.coordinates`).
"""

import torch
from torch import Tensor

from lightning_modules.coordinates import crop_to_sampling
from lightning_modules.sampling import Padding, sample


def warp_image(image: Tensor, field: Tensor, padding_mode: Padding = "border") -> Tensor:
    """Warp a photo onto a stylised face: ``warped(x) = photo(w(x))``, bilinear.

    The gradient reaches both the image and the field. Autocast is switched off inside.

    Args:
        image: the photo, shape ``(B, C, H, H)``.
        field: crop coordinates in the photo, shape ``(B, S, S, 2)``.
        padding_mode: what is sampled outside the photo: its border's colour, or black.

    Returns:
        The warped photo in the image's floating type, shape ``(B, C, S, S)``; NaN where the field is.

    Raises:
        ValueError: the photo is not square.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise ValueError(f"image has {height}×{width} pixels; crop coordinates need a square crop. Crop it first.")
    with torch.autocast(image.device.type, enabled=False):
        sampling = crop_to_sampling(field, width)
        warped = sample(image.to(field.dtype), sampling, padding_mode)
    return warped.to(image.dtype)


def jacobian_determinant(field: Tensor) -> Tensor:
    """Determinant of the field's Jacobian at each cell of four pixels; negative where the field folds over.

    Args:
        field: shape ``(B, S, S, 2)``, S ≥ 2.

    Returns:
        From forward differences; 1 for the identity; shape ``(B, S - 1, S - 1)``.
    """
    size = field.shape[1]
    along_x = (field[:, :-1, 1:] - field[:, :-1, :-1]) * size
    along_y = (field[:, 1:, :-1] - field[:, :-1, :-1]) * size
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def folding(field: Tensor) -> Tensor:
    """Share of the crop where the field folds over, i.e. its Jacobian determinant is negative.

    Args:
        field: shape ``(B, S, S, 2)``, S ≥ 2.

    Returns:
        In [0, 1], shape ``(B,)``, without gradient.
    """
    return (jacobian_determinant(field.detach()) < 0).to(field.dtype).mean(dim=(1, 2))
