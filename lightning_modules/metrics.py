"""NME, FR@8 and AUC@8 over faces, as one torchmetrics metric.

All errors are in the original image's pixels, over the inter-ocular distance (outer eye corners), in %.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from datamodules.ibug68 import OUTER_EYE_CORNERS

FAILURE = 8.0
"""The error, in %, from which a face counts as failed (FR@8), and to which the error curve is integrated (AUC@8)."""

FAILED = 100.0
"""The error, in %, of every landmark of a face whose error is not finite: as far off as the eyes are apart."""


def face_nme(predicted: Tensor, target: Tensor) -> Tensor:
    """Each face's normalised mean error in %.

    Args:
        predicted: image pixels, shape ``(B, 68, 2)``.
        target: image pixels, shape ``(B, 68, 2)``.

    Returns:
        Shape ``(B,)``: mean point-to-point distance over the target's inter-ocular distance, times 100.
    """
    return landmark_errors(predicted, target).mean(-1)


def landmark_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Each landmark's distance from its label over the labels' inter-ocular distance, in %; shapes as in the NME's.

    Returns:
        Shape ``(B, 68)``; :data:`FAILED` for all landmarks of a face of which any error is not finite (the prediction
        is not, or the eye corners coincide), so that no mean leaves it out or is lost to it.
    """
    errors, found = _errors(predicted, target)
    return torch.where(found[:, None], errors, FAILED)


def unfound(predicted: Tensor, target: Tensor) -> Tensor:
    """Which faces count as failed whatever the distance: a landmark's error is not finite; bool, shape ``(B,)``."""
    return ~_errors(predicted, target)[1]


def _errors(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The errors as they are, and for which faces all are finite."""
    errors: Tensor = 100 * (predicted - target).norm(dim=-1) / interocular(target)[:, None]
    return errors, errors.isfinite().all(dim=-1)


def interocular(landmarks: Tensor) -> Tensor:
    """Distance between the outer eye corners, shape ``(B,)``, of landmarks ``(B, 68, 2)``."""
    left, right = OUTER_EYE_CORNERS
    distance: Tensor = (landmarks[:, left] - landmarks[:, right]).norm(dim=-1)
    return distance


class LandmarkErrors(Metric):
    """Collects each face's NME; computes ``nme``, ``fr@8``, ``auc@8`` (all in %), ``n`` and ``failed``.

    FR@8 is the share of faces whose NME exceeds 8 %. AUC@8 is the area under the cumulative error curve from 0 to 8 %,
    over 8: exactly the mean of ``max(0, 1 - nme / 8)``. ``failed`` counts the faces whose error is not finite; they are
    in all of these with :data:`FAILED`.

    Args:
        sync: of a distributed run, count the faces of all processes (all must then compute), not only of this one.
    """

    full_state_update = False
    errors: list[Tensor]

    def __init__(self, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.add_state("errors", default=[], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add faces: landmarks in image pixels, shape ``(B, 68, 2)`` each."""
        # One that failed is kept as NaN, and counted when the scores are computed.
        self.errors.append(torch.where(unfound(predicted, target), torch.nan, face_nme(predicted, target)))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Join the errors of all processes; one without faces sends an empty tensor of the others' type."""
        if not len(self.errors):
            self.errors = [torch.empty(0, dtype=torch.float64, device=self.device)]
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """The scores over all faces since the last reset; NaN if there were none."""
        if not len(self.errors):
            nan, none = torch.tensor(float("nan"), device=self.device), torch.tensor(0, device=self.device)
            return {"nme": nan, "fr@8": nan, "auc@8": nan, "n": none, "failed": none}
        kept = dim_zero_cat(self.errors)
        errors = torch.where(kept.isnan(), FAILED, kept)
        return {
            "nme": errors.mean(),
            "fr@8": 100 * (errors > FAILURE).to(errors.dtype).mean(),
            "auc@8": 100 * (1 - errors / FAILURE).clamp(min=0).mean(),
            "n": torch.tensor(len(errors), device=errors.device),
            "failed": kept.isnan().sum(),
        }
