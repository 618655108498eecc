"""HRNet: a heatmap for each landmark, from a network that keeps a high resolution throughout.

Wang, Sun, Cheng, Jiang, Deng, Zhao, Liu, Mu, Tan, Wang, Liu, Xiao: "Deep High-Resolution Representation Learning for
Visual Recognition", TPAMI 2020 (HRNetV2-W18, section 7: facial landmark detection).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Normalization, Pretrained
from lightning_modules.backbones.hrnet import HRNetBranches, hrnet_head
from lightning_modules.backbones.pyramid import build_backbone
from lightning_modules.landmarkers.backbone_landmarker import BackboneLandmarker
from lightning_modules.landmarkers.base import LandmarkerOutput
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps, peak, soft_argmax
from lightning_modules.landmarkers.losses import weighted_mean
from lightning_modules.weights import Published, StateDict, start_from


class _PublishedHRNet(Published):
    """Also adds the normalisation: ImageNet's, which the published program's data loading applies."""

    def translate(self, state: StateDict) -> StateDict:
        normalization = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
        return super().translate(state) | {k: torch.tensor(v).view(3, 1, 1) for k, v in normalization.items()}


PUBLISHED_HRNET = _PublishedHRNet(
    name="HRNet",
    marker="transition1.0.0.weight",
    renamed=((r"^(?!head\.)", "backbone.trunk."),),
)

OFFSET = 0.5
"""Where in a heatmap's cell a landmark lies, in cells: published targets round down, published decoding adds a half."""


class HRNet(BackboneLandmarker):
    """HRNetV2-W18 for facial landmarks; its defaults are the published network (9.7 million parameters).

    Four branches at strides 4 to 32 exchange what they see; their concatenation is mixed into one heatmap per landmark
    at a quarter of the crop's side, trained towards a Gaussian around it.

    Published landmarks are the highest cell moved a quarter of a cell towards its higher neighbour, which has no
    gradient. The default reads the mean position around the highest cell instead, so that a method can train the
    network through its landmarks; on exact heatmaps it is within 0.02 cells.

    Args:
        image_size: side of the crops, in pixels; a multiple of 32.
        backbone: ``hrnet_w18`` for the published one, or any timm CNN with ``features_only`` under the same head.
        pretrained: ImageNet weights to start the backbone from: true for timm's (from its hub), ``package`` for those
            of an installed Python package, false for none. Not used where ``weights`` is given.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published state dict.
        feature_dim: channels of the feature map of a backbone other than ``hrnet_w18`` (whose map has 270).
        sigma: standard deviation of the target Gaussians, in cells. The published program has 1 for 300W and 1.5 for
            the other data sets; with 1, landmarks between cells are read 0.1 cells off.
        estimate: ``soft`` for landmarks with a gradient, ``peak`` for the published ones without.
        temperature: of the softmax around the highest cell (see :func:`soft_argmax`).
        radius: how far around the highest cell it looks, in cells.
        channels_last: run the backbone in that memory format, which is quicker for most on CPUs and tensor cores.
        normalization: what crops are normalised with (``mean``, ``std``); the backbone's own if None. That which
            ``weights`` bring along replaces it.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 256,
        backbone: str = "hrnet_w18",
        pretrained: Pretrained = False,
        weights: str | None = None,
        feature_dim: int = 128,
        sigma: float = 1.5,
        estimate: Literal["soft", "peak"] = "soft",
        temperature: float = 0.12,
        radius: float = 4,
        channels_last: bool = False,
        normalization: Normalization | None = None,
    ) -> None:
        trunk = build_backbone(backbone, feature_dim, False if weights else pretrained, {"hrnet_w18": _published})
        super().__init__(image_size, trunk.coarsest, trunk, channels_last, normalization)
        self.sigma, self.estimate, self.temperature, self.radius = sigma, estimate, temperature, radius
        self.head = hrnet_head(trunk.channels, NUM_LANDMARKS)
        # Heatmaps start flat: nearly all of a target is 0.
        for name, parameter in self.head[-1].named_parameters():
            nn.init.normal_(parameter, std=0.001 if name == "weight" else 0.0)
        if weights:
            start_from(self, weights, PUBLISHED_HRNET)

    def from_features(self, features: Tensor) -> LandmarkerOutput:
        """Landmarks from the concatenated branches.

        Args:
            features: shape ``(B, 270, S/4, S/4)`` (``feature_dim`` channels for backbones other than the published).

        Returns:
            ``stages`` of shape ``(B, 1, 68, 2)`` and ``heatmaps`` of shape ``(B, 68, S/4, S/4)``.
        """
        output = self.read(self.head(features))
        output.features = features
        return output

    def read(self, heatmaps: Tensor) -> LandmarkerOutput:
        """Landmarks from heatmaps of shape ``(B, 68, h, w)``, by the decoding of ``estimate``."""
        if self.estimate == "peak":
            landmarks = peak(heatmaps, OFFSET)
        else:
            landmarks = soft_argmax(heatmaps, self.temperature, self.radius, OFFSET)
        return LandmarkerOutput(stages=landmarks[:, None], heatmaps=heatmaps)

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean squared error of the heatmaps, in units of a target's mean square: flat heatmaps score 1, exact ones 0.

        The published loss is the mean over cells, nearly all of which are empty (a flat heatmap scores 0.0017). The
        constant factor gives it a weight like that of other landmarkers' losses where a method sums several terms.
        """
        assert output.heatmaps is not None, "HRNet's output has heatmaps"
        heatmaps = output.heatmaps.float()
        size = (heatmaps.shape[-2], heatmaps.shape[-1])
        wanted = gaussian_heatmaps(target.float(), size, self.sigma, OFFSET)
        # A Gaussian's square integrates to πσ².
        errors = (heatmaps - wanted).square().sum((-1, -2)) / (math.pi * self.sigma**2)
        return weighted_mean(errors.mean(1), weight)


def _published(features: int, pretrained: Pretrained) -> Backbone:
    """The published backbone, whose channels are not settable."""
    return HRNetBranches(pretrained=pretrained)
