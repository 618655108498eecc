"""A second stage that knows what faces look like: landmarks found one by one are corrected together."""

import torch
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.landmarkers.base import full_precision
from lightning_modules.landmarkers.patches import sample_windows

_STEP = 0.1
"""Offsets are predicted in this unit, a tenth of the crop's side, so that they are of the order of 1."""


class ShapeStage(nn.Module):
    """Corrects landmarks by what lies around all of them: 68 tokens that attend to each other.

    A heatmap finds each landmark by itself, so that a brow may land in the background. Here each landmark becomes a
    token made of the features around its estimate, its place in the face and its uncertainty; a transformer relates
    the tokens (as SLPT relates patches: Xia et al., CVPR 2022) and gives each landmark's offset. The rounds share their
    weights; each looks at a smaller window around the last estimate.

    Args:
        channels: of the feature map.
        rounds: corrections, at least 1.
        dim: width of the tokens.
        layers: transformer layers.
        points: samples along each side of a landmark's window.
        reach: from a landmark to the outermost samples in the first round, in crop coordinates.
        shrink: what the reach is multiplied by from round to round.
    """

    def __init__(
        self,
        channels: int,
        rounds: int = 2,
        dim: int = 96,
        layers: int = 2,
        points: int = 3,
        reach: float = 0.05,
        shrink: float = 0.6,
    ) -> None:
        super().__init__()
        self.rounds, self.points, self.reach, self.shrink = rounds, points, reach, shrink
        self.embed = nn.Linear(channels * points * points, dim)
        self.place = nn.Linear(3, dim)
        self.names = nn.Parameter(0.5 * torch.randn(1, NUM_LANDMARKS, dim))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.offset = nn.LayerNorm(dim), nn.Linear(dim, 2)
        # At first it changes nothing.
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, features: Tensor, landmarks: Tensor, uncertainty: Tensor) -> Tensor:
        """The estimates after each round.

        Args:
            features: the landmarker's feature map, shape ``(B, channels, h, h)``.
            landmarks: first estimates, crop coordinates, shape ``(B, 68, 2)``; their gradient stops here.
            uncertainty: of each, in crop coordinates, shape ``(B, 68)``; likewise.

        Returns:
            Crop coordinates, shape ``(B, rounds, 68, 2)``; the gradient of a round does not reach those before it.
        """
        reach, found = self.reach, []
        with full_precision(features):
            features, doubt = features.to(landmarks.dtype), (50 * uncertainty.detach()).clamp(max=4)[..., None]
            for _ in range(self.rounds):
                landmarks = landmarks.detach()
                window = sample_windows(features, landmarks, reach, self.points).flatten(2)
                middle = (landmarks.amin(1, keepdim=True) + landmarks.amax(1, keepdim=True)) / 2
                place = torch.cat([4 * (landmarks - middle), doubt], dim=-1)
                tokens = self.embed(window) + self.place(place) + self.names
                for layer in self.layers:
                    tokens = layer(tokens)
                landmarks = landmarks + _STEP * self.offset(self.norm(tokens))
                found.append(landmarks)
                reach = self.shrink * reach
        return torch.stack(found, dim=1)
