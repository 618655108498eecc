"""A feature pyramid over any convolutional timm network."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.backbones.base import Backbone, Pretrained
from lightning_modules.backbones.timm_network import timm_network


class PyramidBackbone(Backbone):
    """Any convolutional timm network: its levels at strides 4 to 32, summed from coarse to fine.

    Each level goes through a 1×1 convolution to a common width and is added to the doubled coarser sum, as in a feature
    pyramid (Lin et al., CVPR 2017); a 3×3 depthwise and a 1×1 convolution finish the finest map.

    Args:
        name: timm's name, e.g. ``efficientnet_lite0``, ``resnet18``, ``mobilenetv3_small_100``.
        features: channels of the feature map.
        pretrained: see :func:`timm_network`.

    Raises:
        ValueError: timm has no network of that name, or it has no feature map of stride 4.
        WeightsError: the pretrained weights cannot be loaded.
    """

    def __init__(self, name: str, features: int, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.channels = features
        self.trunk = _trunk(name, pretrained)
        info, config = cast(Any, self.trunk.feature_info), cast(Any, self.trunk.pretrained_cfg)
        self.mean, self.std = config["mean"], config["std"]
        self.laterals = nn.ModuleList(nn.Conv2d(c, features, 1, bias=False) for c in info.channels())
        self.norm = nn.BatchNorm2d(features)
        self.head = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        levels = [lateral(level) for lateral, level in zip(self.laterals, self.trunk(images), strict=True)]
        merged: Tensor = levels.pop()
        while levels:
            finer = levels.pop()
            merged = finer + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        out: Tensor = self.head(torch.relu(self.norm(merged)))
        return out


Builder = Callable[[int, Pretrained], Backbone]
"""Channels of the feature map, and whether the weights are pretrained, to a backbone."""


def build_backbone(
    name: str, features: int, pretrained: Pretrained = False, published: Mapping[str, Builder] | None = None
) -> Backbone:
    """The backbone that a landmarker was published with, or a :class:`PyramidBackbone` of any other timm network.

    Args:
        name: timm's name of the network.
        features: channels of the feature map.
        pretrained: see :func:`timm_network`.
        published: what builds a landmarker's published backbones, by name.

    Raises:
        ValueError: timm has no such network, it has no feature map of stride 4, or no package holds its weights.
        WeightsError: the pretrained weights cannot be loaded.
    """
    if builder := (published or {}).get(name):
        return builder(features, pretrained)
    return PyramidBackbone(name, features, pretrained)


def _trunk(name: str, pretrained: Pretrained) -> nn.Module:
    """timm's ``features_only`` network, of the levels with strides 4 to 32."""
    try:
        # timm reports strides of built networks only.
        strides = cast(Any, timm_network(name, features_only=True).feature_info).reduction()
    except (RuntimeError, AttributeError) as error:
        raise _unfit(name, str(error)) from error
    levels = [level for level, stride in enumerate(strides) if stride in (4, 8, 16, 32)]
    if not levels or strides[levels[0]] != 4:
        raise _unfit(name, f"its feature maps have the strides {strides}")
    return timm_network(name, pretrained, features_only=True, out_indices=levels)


def _unfit(name: str, reason: str) -> ValueError:
    return ValueError(
        f"backbone {name!r} cannot be used: {reason}. Expected a convolutional timm network with feature maps of "
        "strides 4, 8, ..., e.g. efficientnet_lite0 or resnet18."
    )
