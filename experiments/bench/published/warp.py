"""The published program's warp (its ``sparse_image_warp``), with the same arithmetic in the same precision.

A thin-plate spline carries displacements from the stylised face's landmarks to every pixel, in float32 and in pixels;
r² comes from |a|² - 2ab + |b|², whose rounding is part of what is transcribed. Colours are mixed from four gathered
pixels, with shares of which the program cuts off the gradient: none reaches the landmarks.
"""

import torch
from torch import Tensor

_SMALLEST = 1e-10
"""What r² is raised to before its logarithm is taken."""


def published_warp(photos: Tensor, photo_points: Tensor, stylised_points: Tensor, detached: bool = True) -> Tensor:
    """Warp photos onto stylised faces: ``warped(x) = photo(x - d(x))``, where d takes the landmarks onto each other.

    Args:
        photos: shape ``(B, C, S, S)``.
        photo_points: the photos' landmarks (x, y), in pixels, shape ``(B, K, 2)``.
        stylised_points: the stylised faces' landmarks, likewise.
        detached: cut the gradient to the sampling positions off, as published; False lets it through.

    Returns:
        The photos in the shape of the stylised faces, shape ``(B, C, S, S)``.
    """
    flow = published_flow(photo_points, stylised_points, photos.shape[-1])
    return sample_detached(photos, flow, detached)


def published_flow(photo_points: Tensor, stylised_points: Tensor, size: int) -> Tensor:
    """The displacement d at every pixel, in pixels, rows first: shape ``(B, S, S, 2)``; see :func:`published_warp`."""
    displacements = stylised_points - photo_points
    weights, affine = _solve(stylised_points, displacements)
    pixels = _pixels(size, stylised_points).reshape(1, -1, 2).repeat(len(stylised_points), 1, 1)
    bent = _kernel(_squared_distances(pixels, stylised_points)) @ weights
    straight = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2) @ affine
    return (bent + straight).reshape(-1, size, size, 2)


def sample_detached(photos: Tensor, flow: Tensor, detached: bool = True) -> Tensor:
    """Take each pixel's colour at ``x - d(x)``, mixed from the four pixels around; beyond the border, the border's.

    Args:
        photos: shape ``(B, C, S, S)``.
        flow: d, shape ``(B, S, S, 2)``.
        detached: see :func:`published_warp`.
    """
    batch, channels, size, _ = photos.shape
    where = (_pixels(size, flow) - flow).reshape(batch, -1, 2)
    first = where.floor().clamp(0, size - 2)
    share = where - first
    # As published: a new leaf, so that a backward pass has somewhere to go and ends there.
    share = share.detach().requires_grad_(True) if detached else share
    share = share.clamp(0, 1)
    along_x, along_y = share[..., :1], share[..., 1:]
    colours = photos.permute(0, 2, 3, 1).reshape(-1, channels)
    offsets = torch.arange(batch, device=photos.device)[:, None] * size * size
    column, row = first.long().unbind(2)

    def gathered(rows: Tensor, columns: Tensor) -> Tensor:
        return colours.index_select(0, (offsets + rows * size + columns).flatten()).reshape(batch, -1, channels)

    top = gathered(row, column).lerp(gathered(row, column + 1), along_x.to(photos.dtype))
    bottom = gathered(row + 1, column).lerp(gathered(row + 1, column + 1), along_x.to(photos.dtype))
    mixed = top.lerp(bottom, along_y.to(photos.dtype))
    return mixed.reshape(batch, size, size, channels).permute(0, 3, 1, 2)


def _pixels(size: int, like: Tensor) -> Tensor:
    """(x, y) of every pixel, rows first, shape ``(S, S, 2)``."""
    along = torch.arange(size, device=like.device, dtype=like.dtype)
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], dim=-1)


def _solve(points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The spline's weights ``(B, K, 2)`` and affine part (rows x, y, 1) ``(B, 3, 2)`` from one system of K + 3 rows."""
    batch, count, _ = points.shape
    border = torch.cat([points, torch.ones_like(points[..., :1])], dim=2)
    upper = torch.cat([_kernel(_squared_distances(points, points)), border], dim=2)
    lower = torch.cat([border.mT, points.new_zeros(batch, 3, 3)], dim=2)
    known = torch.cat([values, values.new_zeros(batch, 3, 2)], dim=1)
    found: Tensor = torch.linalg.solve(torch.cat([upper, lower], dim=1), known)
    return found[:, :count], found[:, count:]


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """r² of points ``(B, N, 2)`` and ``(B, K, 2)`` as |a|² - 2ab + |b|², shape ``(B, N, K)``."""
    return a.square().sum(-1)[:, :, None] - 2 * torch.bmm(a, b.mT) + b.square().sum(-1)[:, None]


def _kernel(squared: Tensor) -> Tensor:
    """½ r² log r², the thin plate's."""
    return 0.5 * squared * squared.clamp_min(_SMALLEST).log()
