"""The other way through a warping field: from the photo to the stylised face."""

from typing import Final

import torch
from torch import Tensor

from lightning_modules.coordinates import pixel_grid
from lightning_modules.warping.fields.base import WarpingField

_PLACES: Final = 64
"""Places across the crop from which the search for each point starts."""
_STEPS: Final = 12
_STEP: Final = 1 / 512
"""Offset, in crops, of the differences from which Newton's steps are computed: half a pixel of 256."""


@torch.no_grad()
def carried(field: WarpingField, points: Tensor) -> Tensor:
    """Where points of the photo come to lie on the stylised face: x with w(x) = p, without gradient.

    Where the field folds there are several such x, and beyond what it covers there is none: the result is then the
    nearest that is found. The search starts at the best of 64 × 64 places and goes on by damped Newton steps.

    Args:
        field: of the B pairs.
        points: photo coordinates, crop, shape ``(B, K, 2)``.

    Returns:
        Stylised-face coordinates, crop, shape ``(B, K, 2)``.
    """
    places = pixel_grid(_PLACES, points.device, points.dtype).view(1, -1, 2)
    values = field.evaluate(places).to(points.dtype)
    found = places.expand(len(points), -1, -1).gather(1, _nearest(points, values)[..., None].expand(-1, -1, 2))
    missed = _missed(field, found, points)
    damping = torch.ones_like(missed[..., :1])
    for _ in range(_STEPS):
        tried = found - damping * _newton(field, found, points)
        remaining = _missed(field, tried, points)
        better = remaining.norm(dim=-1, keepdim=True) < missed.norm(dim=-1, keepdim=True)
        found, missed = torch.where(better, tried, found), torch.where(better, remaining, missed)
        damping = torch.where(better, (2 * damping).clamp(max=1.0), damping / 4)
    return found


def _nearest(points: Tensor, values: Tensor) -> Tensor:
    """Which of the values, ``(B, N, 2)``, is nearest to each of the points, ``(B, K, 2)``; shape ``(B, K)``."""
    return torch.cdist(points, values).argmin(dim=-1)


def _missed(field: WarpingField, places: Tensor, points: Tensor) -> Tensor:
    return field.evaluate(places).to(points.dtype) - points


def _newton(field: WarpingField, places: Tensor, points: Tensor) -> Tensor:
    """Newton's step at each place, by central differences; 0 where the Jacobian is singular."""
    columns = []
    for axis in range(2):
        offset = torch.zeros_like(places)
        offset[..., axis] = _STEP
        ahead, behind = field.evaluate(places + offset), field.evaluate(places - offset)
        columns.append((ahead - behind).to(points.dtype) / (2 * _STEP))
    (a, c), (b, d) = (column.unbind(-1) for column in columns)
    x, y = _missed(field, places, points).unbind(-1)
    determinant = a * d - b * c
    singular = determinant.abs() < 1e-6
    safe = torch.where(singular, torch.ones_like(determinant), determinant)
    step = torch.stack([(d * x - b * y) / safe, (a * y - c * x) / safe], dim=-1)
    return torch.where(singular[..., None], torch.zeros_like(step), step)
