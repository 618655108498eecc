"""Convolutional pose machines: heatmaps refined stage by stage.

Wei, Ramakrishna, Kanade, Sheikh: "Convolutional Pose Machines", CVPR 2016. OpenPose's face network and SBR's detector
are two of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.backbones.base import Backbone
from lightning_modules.backbones.vgg import Layer, conv_stack
from lightning_modules.coordinates import cell_centre
from lightning_modules.landmarkers.backbone_landmarker import BackboneLandmarker
from lightning_modules.landmarkers.base import LandmarkerOutput
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps, soft_argmax
from lightning_modules.landmarkers.losses import interocular_loss, weighted_mean

FAINTEST = 1e-6
"""Floor of a heatmap's values where its centre of mass is taken, which keeps their logarithm finite."""


@dataclass
class PoseMachineOutput(LandmarkerOutput):
    """A pose machine's estimates for B crops.

    Attributes:
        maps: every stage's heatmaps, shape ``(B, S, K, h, w)``: the 68 landmarks come first, the background last.
    """

    maps: Tensor | None = None


def heatmap_stage(channels: int, layers: Sequence[Layer], maps: int, batch_norm: bool = False) -> nn.Sequential:
    """A stage: convolutions with ReLU, then a 1×1 one to ``maps`` heatmaps, initialised to show only background."""
    head = nn.Conv2d(layers[-1][0], maps, 1)
    nn.init.normal_(head.weight, std=0.01)
    head.bias = nn.Parameter(torch.zeros(maps).index_fill(0, torch.tensor(maps - 1), 1.0))
    return nn.Sequential(*conv_stack(channels, layers, batch_norm), head)


def centre_of_mass(heatmaps: Tensor, radius: float, offset: float, power: float = 1.0) -> Tensor:
    """The centre of mass of what is positive near a heatmap's highest cell.

    It is exact for a Gaussian that stays, raised to ``power``, at least about half a cell wide; the softmax of such a
    map would be drawn towards the middle of a cell. A power of 1 is SBR's published decoding; a power of 2
    discounts small errors far from the peak.

    Args:
        heatmaps: shape ``(B, K, h, w)``.
        radius: how many cells in x and in y belong to the neighbourhood; the choice of its middle has no gradient.
        offset: where in a cell a landmark on it lies, in cells (see :mod:`~lightning_modules.landmarkers.heatmaps`).
        power: of the heatmap, to weigh cells by.

    Returns:
        Crop coordinates, shape ``(B, K, 2)``; float32 also for half-precision heatmaps.
    """
    # The softmax of log h is h / Σh.
    heatmaps = heatmaps if heatmaps.dtype == torch.float64 else heatmaps.float()
    return soft_argmax(heatmaps.clamp_min(FAINTEST).log(), temperature=1 / power, radius=radius, offset=offset)


class PoseMachine(BackboneLandmarker):
    """A backbone and stages of heatmaps; each stage after the first sees the features and the last stage's heatmaps.

    Args:
        image_size: side of the crops, in pixels.
        backbone: images to features.
        stages: the convolutions of each stage, without the one that makes its heatmaps.
        maps: how many heatmaps a stage makes: the 68 landmarks' first, the background's last.
        batch_norm: normalise within the stages.
        sigma: standard deviation of the target Gaussians, in cells.
        radius: cells around the highest one whose centre of mass is the landmark.
        power: of the heatmaps, to take the centre of mass with.
        landmark_weight: of the landmarks' own error in the loss, beside the heatmaps'; 0 is published.
        channels_last: run in that memory format, which is quicker for most backbones on CPUs and tensor cores.

    Raises:
        ValueError: ``image_size`` is no multiple of the backbone's coarsest stride.
    """

    def __init__(
        self,
        image_size: int,
        backbone: Backbone,
        stages: Sequence[Sequence[Layer]],
        maps: int,
        batch_norm: bool,
        sigma: float,
        radius: float,
        power: float,
        landmark_weight: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__(image_size, backbone.coarsest, backbone, channels_last)
        self.sigma, self.radius, self.power, self.landmark_weight = sigma, radius, power, landmark_weight
        self.offset = cell_centre(backbone.stride)
        self.stages = nn.ModuleList(
            heatmap_stage(backbone.channels + (maps if later else 0), layers, maps, batch_norm)
            for later, layers in enumerate(stages)
        )
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def from_features(self, features: Tensor) -> PoseMachineOutput:
        """The stages, from the map that all of them see.

        Args:
            features: shape ``(B, C, h, w)``.

        Returns:
            ``stages`` of shape ``(B, S, 68, 2)``, ``heatmaps`` of the last stage and ``maps`` of all.
        """
        first, *later = self.stages
        maps = [first(features)]
        for stage in later:
            maps.append(stage(torch.cat([maps[-1], features], dim=1)))
        landmarks = [self._read(each[:, :NUM_LANDMARKS]) for each in maps]
        return PoseMachineOutput(
            stages=torch.stack(landmarks, dim=1),
            heatmaps=maps[-1][:, :NUM_LANDMARKS],
            features=features,
            maps=torch.stack(maps, dim=1),
        )

    def _read(self, heatmaps: Tensor) -> Tensor:
        return centre_of_mass(heatmaps, self.radius, self.offset, self.power)

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Squared error of the heatmaps of landmarks and background, mean over maps and over stages alike.

        The target is a Gaussian around each landmark, and for the background 1 less the highest of these. The
        unit is the energy of a Gaussian (π σ²), so that empty heatmaps score about 1 at any resolution. Maps between
        the landmarks' and the background (OpenPose's pupils) are not compared: there is no label for them. If asked
        for, the inter-ocular-normalised L2 of every stage's landmarks is added.
        """
        assert isinstance(output, PoseMachineOutput), "it is this landmarker's own output"
        assert output.maps is not None, "forward gives all stages' heatmaps"
        maps = output.maps if output.maps.dtype == torch.float64 else output.maps.float()
        drawn = gaussian_heatmaps(target.to(maps), (maps.shape[-2], maps.shape[-1]), self.sigma, self.offset)
        wanted = torch.cat([drawn, 1 - drawn.amax(1, keepdim=True)], dim=1)
        found = torch.cat([maps[:, :, :NUM_LANDMARKS], maps[:, :, -1:]], dim=2)
        energy = (found - wanted[:, None]).square().sum((-1, -2)).mean((1, 2))
        loss = weighted_mean(energy / (math.pi * self.sigma**2), weight)
        if self.landmark_weight:
            loss = loss + self.landmark_weight * interocular_loss(output.stages, target, weight)
        return loss
