"""Facial edges: the nine curves through the 68 landmarks, drawn as the maps that STAR learns."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.ibug68 import CLOSED_PARTS, NUM_LANDMARKS, PARTS
from lightning_modules.coordinates import cell_centre, cell_positions, mesh
from lightning_modules.devices import constant
from lightning_modules.landmarkers.base import full_precision

EDGES = tuple((name in CLOSED_PARTS, tuple(part)) for name, part in PARTS.items())
"""Each facial edge's landmarks, and whether the last joins the first: as published, the parts of iBUG-68."""

_WIDTH = 1.25
"""Width of a curve, in pixels of the crop: at four times the size, OpenCV draws a line of width 4 over 5 pixels."""
_STEPS = 4
"""Straight pieces of a curve from one landmark to the next."""


def edge_membership() -> Tensor:
    """1 where a landmark lies on an edge, shape ``(68, 9)``. Every landmark lies on one."""
    members = torch.zeros(NUM_LANDMARKS, len(EDGES))
    for edge, (_, indices) in enumerate(EDGES):
        members[list(indices), edge] = 1
    return members


def edge_maps(landmarks: Tensor, size: tuple[int, int], stride: int = 4) -> Tensor:
    """Draw a smooth curve through the landmarks of each facial edge.

    A cell is the share of the four pixels at its centre that the curve covers: at most 5/8, where it runs through the
    cell's middle, and 0 where it passes more than 1 5/8 pixels away. That is what the published program's drawing at
    full size and reduction to a quarter come to.

    Args:
        landmarks: crop coordinates, shape ``(B, 68, 2)``.
        size: (height, width) of the maps, in cells.
        stride: pixels to a cell.

    Returns:
        Shape ``(B, 9, h, w)``.
    """
    rows, columns = (cell_positions(count, cell_centre(stride), landmarks) * stride for count in size)
    cells = mesh(columns, rows).flatten(0, 1)
    x, y = landmarks.unbind(dim=-1)
    pixels = torch.stack([x * (size[1] * stride), y * (size[0] * stride)], dim=-1)
    maps = []
    for closed, indices in EDGES:
        weights = _curve_on(len(indices), closed, landmarks.device, landmarks.dtype)
        with full_precision(pixels):
            curve = weights @ pixels[:, constant(tuple(indices), pixels.device)]
        distance = _distance(cells, curve[:, :-1], curve[:, 1:]).amin(-1)
        maps.append((1 + _WIDTH / 2 - distance).clamp(0, _WIDTH) / 2)
    return torch.stack(maps, dim=1).view(len(landmarks), len(EDGES), *size)


def _distance(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From P points, ``(P, 2)``, to B sets of N pieces, each ``(B, N, 2)``: shape ``(B, P, N)``."""
    along = end - start
    from_start = points[:, None] - start[:, None]
    length = along.square().sum(-1).clamp_min(1e-9)
    share = ((from_start * along[:, None]).sum(-1) / length[:, None]).clamp(0, 1)
    distance: Tensor = torch.linalg.vector_norm(from_start - share[..., None] * along[:, None], dim=-1)
    return distance


@lru_cache
def _curve_on(count: int, closed: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """:func:`_curve`, copied to a device once."""
    with torch.inference_mode(False):
        return torch.from_numpy(_curve(count, closed)).to(device, dtype)


@lru_cache
def _curve(count: int, closed: bool) -> npt.NDArray[np.float64]:
    """Weights of ``count`` points that give samples of the Catmull-Rom curve through them: ``(samples, count)``."""
    identity = np.eye(count)
    if closed:
        padded = np.concatenate([identity[-1:], identity, identity[:2]])
    else:  # beyond the ends the curve goes on straight
        first, last = 2 * identity[:1] - identity[1:2], 2 * identity[-1:] - identity[-2:-1]
        padded = np.concatenate([first, identity, last])
    t = np.arange(_STEPS)[:, None, None] / _STEPS
    before, start, end, after = (padded[k : len(padded) - 3 + k] for k in range(4))
    pieces = 0.5 * (
        2 * start
        + t * (end - before)
        + t**2 * (2 * before - 5 * start + 4 * end - after)
        + t**3 * (3 * start - before - 3 * end + after)
    )
    return np.concatenate([pieces.transpose(1, 0, 2).reshape(-1, count), padded[-2:-1]])
