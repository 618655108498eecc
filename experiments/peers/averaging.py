"""A landmarker's estimates averaged over a crop's scales and mirror images, itself a landmarker."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.fixed import frames_of, resampled
from lightning_modules.landmarkers.inference import estimate


class Averaged(Landmarker):
    """The mean of another's estimates on several crops of each face; it is not trained.

    Args:
        landmarker: that finds them.
        scales: sides of its crops, over those it is made for. This one's crops are as large as the largest.
        mirror: take each crop's mirror image as well.
    """

    def __init__(self, landmarker: Landmarker, scales: Sequence[float] = (0.9, 1.0, 1.1), mirror: bool = True) -> None:
        super().__init__()
        self.landmarker, self.scales, self.mirror = landmarker, tuple(scales), mirror
        self.crop_factor = max(self.scales) * landmarker.crop_factor
        self.image_size = math.ceil(max(self.scales) * landmarker.image_size)

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """The mean landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``)."""
        centres = images.new_full((len(images), 2), 0.5)
        found = []
        for scale in self.scales:
            frames = frames_of(
                centres, scale / max(self.scales) * torch.eye(2, device=images.device).expand(len(images), 2, 2)
            )
            crops = resampled(images, frames, self.landmarker.image_size)
            landmarks, _ = estimate(self.landmarker, crops, self.mirror)
            found.append(landmarks @ frames[:, :, :2].mT + frames[:, None, :, 2])
        return LandmarkerOutput(torch.stack(found).mean(0)[:, None])

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("An average over crops has no loss. Train the landmarker that it averages.")
