"""HRNetV2-W18, as the published landmarkers HRNet and SLPT use it."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.hrnet import HighResolutionNetFeatures, cfg_cls
from torch import Tensor, nn

from lightning_modules.backbones.base import Backbone, Pretrained
from lightning_modules.backbones.timm_network import timm_network
from lightning_modules.weights import load_state


class HRNetBranches(Backbone):
    """HRNetV2-W18: four branches kept at strides 4 to 32, upsampled and concatenated to 270 channels.

    timm's building blocks, with the two differences of the published landmarkers (HRNet's and SLPT's): low resolutions
    are fused into high ones bilinearly instead of by repetition, and batch-norm has momentum 0.01.

    Args:
        modules: how many modules stages 2, 3 and 4 have.
        pretrained: start from timm's ImageNet weights (of each stage's first modules), see :func:`timm_network`.
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
        self.channels = sum(self.trunk.feature_info.channels())
        if pretrained:
            state = timm_network("hrnet_w18", pretrained).state_dict()
            load_state(self.trunk, state, "timm's hrnet_w18", partial=True)

    def forward(self, images: Tensor) -> Tensor:
        finest, *coarser = self.trunk(images)
        resized = [F.interpolate(level, size=finest.shape[-2:], mode="bilinear") for level in coarser]
        return torch.cat([finest, *resized], dim=1)


def hrnet_head(channels: int, out: int) -> nn.Sequential:
    """HRNet's head: 1×1 convolution, batch-norm and ReLU at ``channels``, then a 1×1 convolution to ``out``."""
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
        pretrained: start from timm's ImageNet weights (each stage's first module), see :func:`timm_network`.
    """

    def __init__(self, features: int, pretrained: Pretrained = False) -> None:
        super().__init__((1, 1, 1), pretrained)
        self.head = hrnet_head(self.channels, features)
        self.channels = features

    def forward(self, images: Tensor) -> Tensor:
        merged: Tensor = self.head(super().forward(images))
        return merged
