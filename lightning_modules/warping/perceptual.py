"""A perceptual image term: features of a frozen network instead of pixels.

A photo and a drawing share eyes and a mouth rather than colours and lines: deeper features compare the former.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.backbones.base import Pretrained
from lightning_modules.backbones.features import FrozenFeatures, timm_features, torchvision_features
from lightning_modules.warping.losses import ImageLoss, masked_mean


class Perceptual(ImageLoss):
    """Squared distance of features of a frozen network, averaged over layers.

    With ``normalise`` this is LPIPS without its learned channel weights (Zhang et al., "The Unreasonable Effectiveness
    of Deep Features as a Perceptual Metric", CVPR 2018, eq. 1), where layers are averaged instead of summed.

    The network's weights are neither parameters of this module nor part of a checkpoint: they are loaded again, and are
    the same, when a run resumes. The mask applies to where a feature lies; its receptive field reaches beyond.

    Args:
        network: timm's or torchvision's name. Convolutional networks take crops of any size.
        layers: which feature maps to compare: stage numbers of a timm network (of most, 0 to 4 have strides 2 to 32;
            1 and 2 if None), or names of a torchvision network's layers (LPIPS's if None).
        pretrained: true for the library's own ImageNet weights, downloaded on first use; ``package`` for those of an
            installed Python package (timm's ``tf_efficientnet_lite0``); false for random weights, always the same.
        weights: file with the network's weights, as the library names them; takes precedence over ``pretrained``.
        source: the library that the network is taken from.
        normalise: scale the channels of each pixel to unit length, and sum their squared differences (between 0 and 4);
            otherwise the squared differences are averaged over channels as they are.

    Raises:
        ValueError: there is no such network, or it has no such layers, or ``package`` holds no weights of it.
        FileNotFoundError: ``weights`` does not exist.
        RuntimeError: the weights cannot be loaded or downloaded, or are not the network's.
    """

    def __init__(
        self,
        network: str = "tf_efficientnet_lite0",
        layers: Sequence[int | str] | None = None,
        pretrained: Pretrained = "package",
        weights: str | None = None,
        source: Literal["timm", "torchvision"] = "timm",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.features = _features(network, layers, pretrained, weights, source)

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """Mean over layers of each one's mean over pixels."""
        losses = []
        for a, b in zip(self.features(warped), self.features(stylised), strict=True):
            squares = (_unit(a) - _unit(b)).square().sum(dim=1, keepdim=True) if self.normalise else (a - b).square()
            losses.append(masked_mean(squares, F.interpolate(mask, size=squares.shape[-2:], mode="area")))
        return torch.stack(losses).mean(dim=0)


def _features(
    network: str,
    layers: Sequence[int | str] | None,
    pretrained: Pretrained,
    weights: str | None,
    source: Literal["timm", "torchvision"],
) -> FrozenFeatures:
    expected = int if source == "timm" else str
    if layers is not None and not (layers and all(isinstance(layer, expected) for layer in layers)):
        kind = "stage numbers" if source == "timm" else "names of layers"
        raise ValueError(f"layers are {list(layers)}; expected {kind} of {source}'s {network}.")
    if source == "timm":
        return timm_features(network, [int(layer) for layer in layers] if layers else None, pretrained, weights)
    if pretrained == "package" and not weights:
        raise ValueError(
            f"no Python package holds torchvision's weights of {network}. Use `pretrained: true` (torchvision's "
            "download), `weights: FILE`, or `source: timm` with `network: tf_efficientnet_lite0`."
        )
    return torchvision_features(
        network, [str(layer) for layer in layers] if layers else None, bool(pretrained), weights
    )


def _unit(features: Tensor, eps: float = 1e-6) -> Tensor:
    """Channels scaled to unit length at each pixel; with a finite gradient where all are zero."""
    return features * (features.square().sum(dim=1, keepdim=True) + eps).rsqrt()
