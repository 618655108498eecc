"""Heatmaps: drawn around landmarks as training targets, and landmarks read off them, differentiably or as published.

``offset`` is where in a cell a landmark on it lies, see :mod:`lightning_modules.coordinates`.
"""

import torch
from kornia.geometry.subpix import spatial_expectation2d, spatial_softmax2d
from torch import Tensor

from lightning_modules.coordinates import cell_positions, cells_to_crop


def gaussian_heatmaps(landmarks: Tensor, size: tuple[int, int], sigma: float, offset: float = 0.0) -> Tensor:
    """Draw a Gaussian of height 1 around each landmark, placed between cells as exactly as the landmark is.

    Args:
        landmarks: crop coordinates, shape ``(B, K, 2)``; those outside the crop leave the part inside.
        size: (height, width) of the heatmaps, in cells.
        sigma: standard deviation in cells.
        offset: where in a cell a landmark on it lies, in cells.

    Returns:
        Shape ``(B, K, h, w)``, in the landmarks' dtype.
    """
    height, width = size
    rows, columns = (cell_positions(count, offset, landmarks) for count in size)
    along_x = torch.exp(-(columns - landmarks[..., :1] * width).square() / (2 * sigma**2))
    along_y = torch.exp(-(rows - landmarks[..., 1:] * height).square() / (2 * sigma**2))
    return along_y[..., :, None] * along_x[..., None, :]


def soft_argmax(heatmaps: Tensor, temperature: float = 1.0, radius: float | None = None, offset: float = 0.0) -> Tensor:
    """Where heatmaps are high, differentiably: the mean position under their softmax.

    Args:
        heatmaps: shape ``(B, K, h, w)``, of any sign and scale.
        temperature: what they are divided by before the softmax; the smaller, the closer to the highest cell. Maps
            regressed to Gaussians of height 1 need about 0.1, or their background outweighs them.
        radius: look only at cells at most so many cells from the highest one (in x and in y). The choice of that
            cell has no gradient.
        offset: where in a cell a landmark on it lies, in cells.

    Returns:
        Crop coordinates, shape ``(B, K, 2)``; float32 also for half-precision heatmaps.
    """
    cells: Tensor = spatial_expectation2d(local_softmax(heatmaps, temperature, radius), False)
    return cells_to_crop(cells, (heatmaps.shape[-2], heatmaps.shape[-1]), offset)


def local_softmax(heatmaps: Tensor, temperature: float = 1.0, radius: float | None = None) -> Tensor:
    """The weights of :func:`soft_argmax`, which sum to 1 over each heatmap: shape ``(B, K, h, w)``, float32 or more."""
    if heatmaps.dtype != torch.float64:
        heatmaps = heatmaps.float()
    logits = heatmaps / temperature
    if radius is not None:
        logits = logits.masked_fill(~_near_peak(heatmaps.detach(), radius), -torch.inf)
    weights: Tensor = spatial_softmax2d(logits)
    return weights


def peak(heatmaps: Tensor, offset: float = 0.0) -> Tensor:
    """The highest cell, moved a quarter of a cell towards its higher neighbour in x and in y: HRNet's published decode.

    It has no gradient. At the border, where a neighbour is missing, and on a plateau it is not moved.

    Args:
        heatmaps: shape ``(B, K, h, w)``, at least 3 cells a side.
        offset: where in a cell a landmark on it lies, in cells.

    Returns:
        Crop coordinates, shape ``(B, K, 2)``.
    """
    heatmaps = heatmaps.detach()
    column, row = _highest_cell(heatmaps)
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.flatten(2)

    def value(row: Tensor, column: Tensor) -> Tensor:
        return flat.gather(-1, (row * width + column)[..., None])[..., 0]

    x, y = column.clamp(1, width - 2), row.clamp(1, height - 2)
    step = torch.stack([value(row, x + 1) - value(row, x - 1), value(y + 1, column) - value(y - 1, column)], -1).sign()
    inside = (x == column) & (y == row)
    cells = torch.stack([column, row], -1) + 0.25 * step * inside[..., None]
    return cells_to_crop(cells, (height, width), offset)


def _highest_cell(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    highest = heatmaps.flatten(2).argmax(-1)
    width = heatmaps.shape[-1]
    return highest % width, highest // width


def _near_peak(heatmaps: Tensor, radius: float) -> Tensor:
    column, row = _highest_cell(heatmaps)
    height, width = heatmaps.shape[-2:]
    near_x = (torch.arange(width, device=heatmaps.device) - column[..., None]).abs() <= radius
    near_y = (torch.arange(height, device=heatmaps.device) - row[..., None]).abs() <= radius
    return near_y[..., :, None] & near_x[..., None, :]
