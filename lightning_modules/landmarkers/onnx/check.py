"""Whether an exported landmarker finds what the one it was made from finds."""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.weights import WeightsError

TOLERANCE: Final = 1e-4
"""Largest difference that is taken for rounding, in crop coordinates: 0.03 pixels of 256."""


def random_crops(size: int) -> list[Tensor]:
    """One crop of noise, and three: other batches than the graph was traced with."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 3, size, size, generator=generator) for count in (1, 3)]


@torch.no_grad()
def largest_difference(landmarker: Landmarker, exported: ExportedLandmarker, batches: Iterable[Tensor]) -> float:
    """Between two landmarkers' coordinates, and between their uncertainties, in crop coordinates.

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
            one, other = landmarker(crops), exported(crops)
            pairs = [(one.landmarks, other.landmarks), (one.uncertainty, other.uncertainty)]
            for a, b in pairs:
                if a is None or b is None:
                    largest = largest if a is b else torch.inf
                else:
                    # NaN on one side alone is no number that is larger: it counts as infinite.
                    largest = max(largest, float((a.float() - b).abs().nan_to_num(torch.inf).max()))
    return largest


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
