"""Networks that tell photos from drawings: by the landmarker's features, or by where it finds the landmarks."""

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps

SMALLEST_MAP = 32
"""Five convolutions halve it to a single cell."""


class DomainClassifier(nn.Module):
    """Two hidden layers over the mean of a feature map: the larger domain classifier of Ganin and Lempitsky (2015).

    Args:
        channels: of the feature map.
        width: of both hidden layers.
        dropout: after each of them.
    """

    def __init__(self, channels: int, width: int = 1024, dropout: float = 0.5) -> None:
        super().__init__()
        hidden = [layer for pair in pairwise((channels, width, width)) for layer in _hidden(*pair, dropout)]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits of a photo, shape ``(B,)``, from a feature map ``(B, C, h, w)``."""
        logits: Tensor = self.layers(features.mean((2, 3)))
        return logits[:, 0]


def _hidden(inputs: int, outputs: int, dropout: float) -> Iterator[nn.Module]:
    yield nn.Linear(inputs, outputs)
    yield nn.ReLU()
    yield nn.Dropout(dropout)


class LandmarkDiscriminator(nn.Module):
    """Five 4×4 convolutions of stride 2 over maps of the landmarks (Tsai et al., CVPR 2018, there over class scores).

    The maps are Gaussians of height 1, one for each landmark: only the landmarks' arrangement is judged, and the
    gradient reaches them through the Gaussians' positions.

    Args:
        map_size: side of the maps in cells, at least 32.
        sigma: standard deviation of the Gaussians in cells.
        width: channels of the first convolution; they double up to eight times as many.

    Raises:
        ValueError: the maps are too small for five halvings.
    """

    def __init__(self, map_size: int = 64, sigma: float = 1.5, width: int = 64) -> None:
        super().__init__()
        if map_size < SMALLEST_MAP:
            raise ValueError(f"map_size is {map_size}; expected at least {SMALLEST_MAP}, which is halved five times.")
        self.map_size, self.sigma = map_size, sigma
        widths = (NUM_LANDMARKS, *(width * 2**k for k in range(4)))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))

    def maps(self, landmarks: Tensor) -> Tensor:
        """The maps of landmarks ``(B, 68, 2)`` in crop coordinates: shape ``(B, 68, h, w)``, in [0, 1]."""
        # Rounding to bf16 would move a Gaussian by up to an eighth of a cell of 64.
        landmarks = landmarks if landmarks.dtype == torch.float64 else landmarks.float()
        return gaussian_heatmaps(landmarks, (self.map_size, self.map_size), self.sigma)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Logits of a photo, each for a part of the face, shape ``(B, 1, h/32, w/32)``.

        Args:
            landmarks: crop coordinates, shape ``(B, 68, 2)``.
        """
        judged: Tensor = self.layers(self.maps(landmarks))
        return judged


def judgement_loss(logits: Tensor, photo: bool) -> Tensor:
    """Mean cross entropy of logits of any shape where all should say photo, or all should say drawing; a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, float(photo)).float())
