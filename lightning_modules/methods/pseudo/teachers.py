"""Several landmarkers on the same faces: what they agree on, and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor

from datamodules.ibug68 import OUTER_EYE_CORNERS
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Found

TOLERANCE: Final = 0.06
"""Of a disagreement, as a share of the inter-ocular distance."""


@dataclass
class Teachers:
    """Landmarkers that find pseudo landmarks and are not trained.

    The more they differ in architecture and training, the more their agreement tells: those of one kind err alike.

    Args:
        landmarkers: of others (:class:`~lightning_modules.landmarkers.OnnxLandmarker` with a ``file``) or of ours, with
            ``weights`` that name a checkpoint or shipped weights. They are put in evaluation mode and frozen.
        include_self: the method's own landmarker, as it is by then, is one more of them.
        tolerance: of their disagreement, see :func:`trust`.

    Raises:
        ValueError: there is no landmarker, or the tolerance is not above 0.
    """

    landmarkers: list[Landmarker]
    include_self: bool = True
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not self.landmarkers:
            raise ValueError("landmarkers is []; expected one teacher or more, or teachers: null.")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance is {self.tolerance}; expected a share of the inter-ocular distance above 0.")
        for landmarker in self.landmarkers:
            landmarker.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Averages of the weights copy the whole method. A teacher never changes, and those of others cannot be copied.
        return self

    def beside(self, own: Landmarker, device: torch.device) -> list[Landmarker]:
        """The landmarkers to ask, on ``device`` where they have parameters.

        Args:
            own: the method's.
            device: of the method.
        """
        teachers = [landmarker.to(device) for landmarker in self.landmarkers]
        return [own, *teachers] if self.include_self else teachers


@dataclass(frozen=True)
class Consensus:
    """What landmarkers agree on, on B faces.

    Attributes:
        pixels: landmarks in the original images' pixels, shape ``(B, 68, 2)``, float32.
        disagreement: over the inter-ocular distance, shape ``(B,)``.
        trust: in each face, in [0, 1], shape ``(B,)``.
    """

    pixels: Tensor
    disagreement: Tensor
    trust: Tensor


def agreed(estimates: Sequence[Found], tolerance: float = TOLERANCE) -> Consensus:
    """The consensus of several landmarkers, on the CPU.

    Each coordinate of a landmark is the median of theirs: the mean of two, and of three or more one that a single
    landmarker, however far off, does not move beyond the others. A face's disagreement is twice the median distance of
    their landmarks from the consensus, a mean over the landmarks: of two landmarkers, the distance between them. A
    single landmarker is trusted; its disagreement is its own (:class:`Found`).

    Args:
        estimates: of one landmarker or more, on the same faces.
        tolerance: see :func:`trust`.
    """
    if len(estimates) == 1:
        (only,) = estimates
        return Consensus(only.pixels.float().cpu(), only.disagreement.float().cpu(), torch.ones(len(only.pixels)))
    views = torch.stack([found.pixels.double().cpu() for found in estimates])
    consensus = views.quantile(0.5, dim=0)
    apart = 2 * (views - consensus).norm(dim=-1).quantile(0.5, dim=0).mean(-1)
    left, right = OUTER_EYE_CORNERS
    interocular = (consensus[:, left] - consensus[:, right]).norm(dim=-1)
    disagreement = (apart / interocular.clamp(min=1e-3)).float()
    return Consensus(consensus.float(), disagreement, trust(disagreement, tolerance))


def trust(disagreement: Tensor, tolerance: float) -> Tensor:
    """How far estimates that disagree by so much are trusted: exp(-d² / (2 tolerance²)), in [0, 1].

    Args:
        disagreement: d, over the inter-ocular distance, of any shape.
        tolerance: at which a face still counts 0.61 of one without disagreement.
    """
    return (-0.5 * (disagreement / tolerance).square()).exp()
