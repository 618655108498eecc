"""Convolutional backbones: normalised images to one feature map at a quarter of their side."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from timm.models.hrnet import HighResolutionNetFeatures, cfg_cls
from torch import Tensor, nn

from lightning_modules.backbones.pretrained import hub_state, load_trunk, package_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pretrained = bool | Literal["package"]


class Backbone(nn.Module):
    """Normalised images ``(B, 3, S, S)`` to features ``(B, C, S/4, S/4)``.

    Attributes:
        mean: the RGB mean (of values in [0, 1]) its input is normalised with.
        std: the standard deviation likewise.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


class HRNetBranches(Backbone):
    """HRNetV2-W18: four branches kept at strides 4 to 32, upsampled and concatenated (270 channels, not settable).

    timm's building blocks, with the two differences of the published landmarkers (HRNet's and SLPT's): low resolutions
    are fused into high ones bilinearly instead of by repetition, and batch-norm has momentum 0.01.

    Args:
        modules: how many modules stages 2, 3 and 4 have.
        pretrained: start from timm's ImageNet weights (of each stage's first modules).

    Attributes:
        channels: channels of the feature map.

    Raises:
        RuntimeError: the pretrained weights cannot be had.
    """

    def __init__(self, modules: Sequence[int] = (1, 4, 3), pretrained: Pretrained = False) -> None:
        super().__init__()
        config = copy.deepcopy(cfg_cls["hrnet_w18"])
        for stage, count in zip(("stage2", "stage3", "stage4"), modules, strict=True):
            config[stage]["num_modules"] = count
        self.trunk = HighResolutionNetFeatures(config, feature_location="", out_indices=(1, 2, 3, 4))
        for module in self.trunk.modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "bilinear", False
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.01
        self.channels: int = sum(self.trunk.feature_info.channels())
        if pretrained == "package":
            package_state("hrnet_w18")  # raises: no package holds these
        if pretrained:
            load_trunk(self.trunk, hub_state("hrnet_w18"), "timm's hrnet_w18")

    def forward(self, images: Tensor) -> Tensor:
        finest, *coarser = self.trunk(images)
        resized = [F.interpolate(level, size=finest.shape[-2:], mode="bilinear") for level in coarser]
        return torch.cat([finest, *resized], dim=1)


def hrnet_head(channels: int, out: int) -> nn.Sequential:
    """HRNet's head: ``channels`` mixed by a 1×1 convolution, normalised, and read out by another, ``out`` channels."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels, momentum=0.01),
        nn.ReLU(),
        nn.Conv2d(channels, out, 1),
    )


class HRNetBackbone(HRNetBranches):
    """SLPT's HRNet-W18: one module in each stage, the concatenated branches mixed by HRNet's head.

    Args:
        features: channels of the feature map.
        pretrained: start from timm's ImageNet weights (each stage's first module).

    Raises:
        RuntimeError: the pretrained weights cannot be had.
    """

    def __init__(self, features: int, pretrained: Pretrained = False) -> None:
        super().__init__((1, 1, 1), pretrained)
        self.head = hrnet_head(self.channels, features)
        self.channels = features

    def forward(self, images: Tensor) -> Tensor:
        merged: Tensor = self.head(super().forward(images))
        return merged


class PyramidBackbone(Backbone):
    """Any timm network with ``features_only``: its levels at strides 4 to 32, summed from coarse to fine.

    Each level goes through a 1×1 convolution to a common width and is added to the doubled coarser sum, as in a feature
    pyramid (Lin et al., CVPR 2017); a 3×3 depthwise and a 1×1 convolution finish the finest map.

    Args:
        name: timm's name, e.g. ``efficientnet_lite0``, ``resnet18``, ``mobilenetv3_small_100``.
        features: channels of the feature map.
        pretrained: True for timm's own weights from its hub, ``"package"`` for those of an installed Python package.

    Raises:
        ValueError: timm has no network of that name, or it has no feature map of stride 4.
        RuntimeError: the pretrained weights cannot be had.
    """

    def __init__(self, name: str, features: int, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.trunk = _features_only(name)
        self.mean, self.std = timm.get_pretrained_cfg(name).mean, timm.get_pretrained_cfg(name).std
        if pretrained == "package":
            load_trunk(self.trunk, package_state(name), "the package's weights")
        elif pretrained:
            load_trunk(self.trunk, hub_state(name), f"timm's {name}")
        info: Any = self.trunk.feature_info
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


def build_backbone(name: str, features: int, pretrained: Pretrained = False) -> Backbone:
    """The published HRNet for ``hrnet_w18``, any other timm network by its name; ``features`` channels out.

    Raises:
        ValueError: timm has no such network, or it has no feature map of stride 4.
        RuntimeError: the pretrained weights cannot be had.
    """
    if name == "hrnet_w18":
        return HRNetBackbone(features, pretrained)
    return PyramidBackbone(name, features, pretrained)


def _features_only(name: str) -> nn.Module:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        raise ValueError(
            f"timm has no network {name!r}. Set `backbone` to one of timm.list_models(); near ones are {near}."
        )
    try:
        strides = timm.create_model(name, features_only=True).feature_info.reduction()
        chosen = [i for i, stride in enumerate(strides) if stride in (4, 8, 16, 32)]
        if not chosen or strides[chosen[0]] != 4:
            raise ValueError(f"its feature maps have strides {strides}")
        trunk: nn.Module = timm.create_model(name, features_only=True, out_indices=chosen)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"backbone {name!r} cannot be used: {error}. Expected a convolutional timm network with feature maps of "
            "strides 4, 8, ..., e.g. efficientnet_lite0 or resnet18."
        ) from error
    return trunk
