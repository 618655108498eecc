"""Whether an exported landmarker finds what the one it was made from finds."""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput, evaluating
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.weights import WeightsError

TOLERANCE: Final = 1e-4
"""Largest difference that is taken for rounding, in crop coordinates: 0.03 pixels of 256."""

_JITTERS: Final = (1e-5, 1e-4)
"""Changes of pixels in [0, 1] that decide between equal peaks: a 400th and a 40th of a grey level."""
_DRAWS: Final = 8
_FEW: Final = 0.01
"""Largest share of a batch's landmarks that may be undecided."""


def random_crops(size: int) -> list[Tensor]:
    """One crop of noise, and three: other batches than the graph was traced with."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 3, size, size, generator=generator) for count in (1, 3)]


@torch.no_grad()
def largest_difference(landmarker: Landmarker, exported: ExportedLandmarker, batches: Iterable[Tensor]) -> float:
    """Between two landmarkers' coordinates, and between their uncertainties, in crop coordinates.

    Where a heatmap has two peaks of one height, rounding decides between them, and no two runtimes need agree. Single
    landmarks that the landmarker itself moves as far for a change of the pixels by :data:`_JITTERS` are not counted.

    Args:
        landmarker: as it was trained.
        exported: from the file.
        batches: crops, RGB in [0, 1], each of shape ``(B, 3, S, S)``.

    Returns:
        The largest over all; infinite if one of the two has an uncertainty or a number where the other has none.
    """
    largest = 0.0
    with evaluating(landmarker):
        for crops in batches:
            apart = _apart(landmarker(crops), exported(crops))
            for jitter in _JITTERS if float(apart.max()) > TOLERANCE else ():
                undecided = _undecided(landmarker, crops, jitter)
                if int(undecided.sum()) <= max(1, _FEW * undecided.numel()):
                    apart = apart.masked_fill(undecided, 0.0)
            largest = max(largest, float(apart.max()))
    return largest


def _apart(one: LandmarkerOutput, other: LandmarkerOutput) -> Tensor:
    """How far each landmark's coordinates and uncertainty are apart, shape ``(B, 68)``; infinite where one is NaN."""
    apart = (one.landmarks.float() - other.landmarks).abs().amax(-1)
    if one.uncertainty is not None and other.uncertainty is not None:
        apart = torch.maximum(apart, (one.uncertainty.float() - other.uncertainty).abs())
    elif one.uncertainty is not other.uncertainty:
        apart = torch.full_like(apart, torch.inf)
    return apart.nan_to_num(torch.inf)


def _undecided(landmarker: Landmarker, crops: Tensor, jitter: float) -> Tensor:
    """Which landmarks move by more than the tolerance for a change of the pixels that no image could hold."""
    still, generator = landmarker(crops), torch.Generator().manual_seed(0)
    moved = torch.zeros(still.landmarks.shape[:2], dtype=torch.bool)
    for _ in range(_DRAWS):
        noise = jitter * (2 * torch.rand(crops.shape, generator=generator) - 1)
        moved |= _apart(still, landmarker(crops + noise)) > TOLERANCE
    return moved


def require_parity(landmarker: Landmarker, exported: ExportedLandmarker, batches: Iterable[Tensor], on: str) -> float:
    """The largest difference, see :func:`largest_difference`.

    Args:
        landmarker, exported, batches: see there.
        on: what the crops show, for the message.

    Raises:
        WeightsError: it is above :data:`TOLERANCE`.
    """
    found = largest_difference(landmarker, exported, batches)
    if found > TOLERANCE:
        raise WeightsError(
            f"the ONNX form of {type(landmarker).__name__} differs from it on {on}: found landmarks or uncertainties "
            f"up to {found:.2g} of the crop apart, expected at most {TOLERANCE:g}. Nothing was written. Its forward "
            "pass may depend on the images or on the batch in ways that a traced graph cannot follow."
        )
    return found
