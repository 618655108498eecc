"""A light landmarker: coarse heatmaps of any timm backbone, read to fractions of a cell, with uncertainty.

It combines heatmaps trained towards Gaussians, since local evidence holds up better on drawings than regression from
the whole face (docs/results/network-labels.md); integral regression (Sun, Xiao, Wei, Liang, Wei: "Integral Human
Pose Regression", ECCV 2018), which reads coarse and thus cheap heatmaps exactly; and a spread of each landmark, fitted
by likelihood (Kumar, Marks, Mou et al.: "LUVLi Face Alignment", CVPR 2020). A second stage may correct the landmarks
together, see :mod:`lightning_modules.landmarkers.shape_stage`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.backbones.base import Normalization, Pretrained
from lightning_modules.backbones.timm_network import features_between
from lightning_modules.coordinates import map_positions
from lightning_modules.landmarkers.backbone_landmarker import BackboneLandmarker
from lightning_modules.landmarkers.base import LandmarkerOutput, full_precision
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps, local_softmax
from lightning_modules.landmarkers.losses import interocular_loss, weighted_mean
from lightning_modules.landmarkers.shape_stage import ShapeStage
from lightning_modules.weights import load_state, read_state

_SMALLEST_SCALE = 1e-4
"""Smallest spread of a landmark, in crop coordinates: it keeps the likelihood finite."""


class Integral(BackboneLandmarker):
    """Heatmaps at an eighth of the crop's side, each landmark the mean position around its highest cell.

    The backbone's maps of strides ``stride`` to ``coarsest`` are summed to the finest; a depthwise block, a mixing
    layer and a 1×1 convolution make one heatmap per landmark. A second 1×1 convolution predicts in each cell the error
    of a landmark found there; its mean under the same weights gives the landmark's uncertainty.

    Args:
        image_size: side of the crops, in pixels; a multiple of ``stride``.
        backbone: any timm network with intermediate features: convolutional, or a vision transformer (whose tokens are
            resampled to the wanted stride).
        pretrained: ImageNet weights to start the backbone from: true for timm's (from its hub), ``package`` for those
            of an installed Python package, false for none. Not used where ``weights`` is given.
        weights: file to start from: a state dict of this network, or a checkpoint of a run.
        feature_dim: channels of the feature map.
        stride: of the heatmaps, in pixels.
        coarsest: largest stride of the backbone's maps. 16 leaves out the last, most expensive layers, which did not
            improve the NME on real faces.
        blocks: depthwise-separable residual blocks on the feature map.
        sigma: standard deviation of the target Gaussians, in cells.
        temperature: of the softmax around the highest cell.
        radius: how far around the highest cell it looks, in cells.
        landmark_weight: of the landmarks' own error (inter-ocular-normalised L2) beside the heatmaps'.
        uncertainty_weight: of the spreads' negative log-likelihood, whose gradient does not reach the landmarks.
        shape_rounds: corrections of all landmarks together by a :class:`ShapeStage`; 0 for none.
        frozen_stride: the backbone's layers up to this stride keep their weights and statistics; 0 for none. With
            ImageNet weights in EfficientNet-Lite0, 4 makes a training step a third cheaper; without weights to start
            from they would stay random, which the command line refuses to train.
        channels_last: run in that memory format, which is quicker for most backbones on CPUs and tensor cores.
        normalization: what crops are normalised with (``mean``, ``std``); the backbone's own if None. That which
            ``weights`` bring along replaces it.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 256,
        backbone: str = "tf_efficientnet_lite0",
        pretrained: Pretrained = False,
        weights: str | None = None,
        feature_dim: int = 96,
        stride: int = 8,
        coarsest: int = 16,
        blocks: int = 1,
        sigma: float = 1.25,
        temperature: float = 0.15,
        radius: float = 2,
        landmark_weight: float = 2.0,
        uncertainty_weight: float = 0.01,
        shape_rounds: int = 0,
        frozen_stride: int = 0,
        channels_last: bool = True,
        normalization: Normalization | None = None,
    ) -> None:
        trunk = features_between(backbone, image_size, stride, coarsest, False if weights else pretrained)
        if frozen_stride:
            trunk.freeze_until(frozen_stride)
        super().__init__(image_size, stride, trunk, channels_last, normalization)
        self.stride, self.sigma, self.temperature, self.radius = stride, sigma, temperature, radius
        self.landmark_weight, self.uncertainty_weight = landmark_weight, uncertainty_weight
        self.laterals = nn.ModuleList(nn.Conv2d(c, feature_dim, 1, bias=False) for c in trunk.channels)
        self.norm = nn.BatchNorm2d(feature_dim)
        self.blocks = nn.Sequential(*(SeparableBlock(feature_dim) for _ in range(blocks)))
        self.mix = nn.Sequential(nn.Conv2d(feature_dim, feature_dim, 1), nn.BatchNorm2d(feature_dim), nn.ReLU())
        self.heatmaps = nn.Conv2d(feature_dim, NUM_LANDMARKS, 1)
        self.spreads = nn.Conv2d(feature_dim, NUM_LANDMARKS, 1)
        self.shape_stage = ShapeStage(feature_dim, shape_rounds) if shape_rounds else None
        # Heatmaps start flat: nearly all of a target is 0.
        nn.init.normal_(self.heatmaps.weight, std=0.001)
        nn.init.constant_(self.heatmaps.bias, 0.0)  # type: ignore[arg-type]  # it has one
        if channels_last:
            self.to(memory_format=torch.channels_last)
        if weights:
            load_state(self, read_state(weights), weights)

    def from_features(self, features: Tensor) -> LandmarkerOutput:
        """Landmarks from the feature map of shape ``(B, feature_dim, S/8, S/8)``.

        Returns:
            ``stages`` of shape ``(B, 1 + shape_rounds, 68, 2)``, ``heatmaps`` of shape ``(B, 68, S/8, S/8)`` and
            ``uncertainty``.
        """
        mixed = self.mix(features)
        heatmaps = self.heatmaps(mixed)
        weights = local_softmax(heatmaps, self.temperature, self.radius)
        with full_precision(weights):
            landmarks = weights.flatten(2) @ map_positions(weights).flatten(0, 1)
        scales = (weights * self.spreads(mixed).to(weights)).sum((-1, -2))
        # Initially about half a stride, the error of a landmark read off as a whole cell.
        scales = F.softplus(scales) * self.stride / self.image_size / 2 + _SMALLEST_SCALE
        # Of the density exp(-|d| / b) / (2π b²), per axis.
        uncertainty = math.sqrt(3) * scales
        # The spreads join the landmarks' graph without effect: plain DDP stops at a parameter without a gradient.
        stages = (landmarks + 0.0 * scales[..., None])[:, None]
        if self.shape_stage is not None:
            stages = torch.cat([stages, self.shape_stage(features, landmarks, uncertainty)], dim=1)
        return LandmarkerOutput(
            stages=stages,
            heatmaps=heatmaps,
            uncertainty=uncertainty,
            features=features,
        )

    def neck(self, maps: Sequence[Tensor]) -> Tensor:
        """The backbone's maps, fine to coarse, to their sum, shape ``(B, feature_dim, S/8, S/8)``."""
        side = self.image_size // self.stride
        levels = [lateral(level) for lateral, level in zip(self.laterals, maps, strict=True)]
        merged: Tensor = levels.pop()
        while levels:
            finer = levels.pop()
            merged = finer + _resized(merged, finer.shape[-1])
        features: Tensor = self.blocks(F.relu(self.norm(_resized(merged, side))))
        return features

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Squared error of the heatmaps (flat ones score 1, exact ones 0), error of the landmarks, and of the spreads.

        The error of the landmarks is that of the heatmaps' plus the mean over the corrections.

        A spread b is fitted by the likelihood of how far its landmark is off, in cells, under the isotropic density
        exp(-|d| / b) / (2π b²): |d| / b + 2 log b.
        """
        assert output.heatmaps is not None, "the output has heatmaps"
        assert output.uncertainty is not None, "the output has spreads"
        heatmaps, target = output.heatmaps.float(), target.float()
        wanted = gaussian_heatmaps(target, (heatmaps.shape[-2], heatmaps.shape[-1]), self.sigma)
        # A Gaussian's square integrates to πσ².
        errors = (heatmaps - wanted).square().sum((-1, -2)) / (math.pi * self.sigma**2)
        cell = self.stride / self.image_size
        scale = output.uncertainty.float() / math.sqrt(3) / cell
        off = torch.linalg.vector_norm(output.landmarks.detach().float() - target, dim=-1) / cell
        likelihood = off / scale + 2 * scale.log()
        maps = weighted_mean((errors + self.uncertainty_weight * likelihood).mean(1), weight)
        first, later = output.stages[:, 0], output.stages[:, 1:]
        landmarks = interocular_loss(first, target, weight)
        if later.shape[1]:
            landmarks = landmarks + interocular_loss(later, target, weight)
        return maps + self.landmark_weight * landmarks


class SeparableBlock(nn.Module):
    """A residual block: 3×3 depthwise, then 1×1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.layers(features)
        return added


def _resized(level: Tensor, side: int) -> Tensor:
    if level.shape[-1] == side:
        return level
    return F.interpolate(level, size=(side, side), mode="nearest" if side % level.shape[-1] == 0 else "bilinear")
