"""Any timm network that gives feature maps, convolutional or vision transformer, as levels for a neck."""

from typing import Any

import timm
from torch import Tensor, nn

from lightning_modules.backbones.networks import Pretrained
from lightning_modules.backbones.pretrained import load_trunk, package_state, timm_trunk


class Trunk(nn.Module):
    """A timm network's feature maps between two strides, fine to coarse.

    A convolutional network gives one map for each stride; a vision transformer the tokens of four blocks evenly spread
    over its depth, all at the patch's stride, however coarse that is. Layers after the last map are cut off.

    Args:
        name: timm's name, e.g. ``tf_efficientnet_lite0``, ``convnext_atto``, ``vit_small_patch16_dinov3``.
        image_size: side of the images, in pixels (transformers fix it, or resample their position embedding to it).
        finest: the smallest stride wanted.
        coarsest: the largest stride wanted.
        pretrained: True for timm's own weights from its hub, ``"package"`` for those of an installed Python package.

    Attributes:
        channels: of each map.
        strides: of each map, in pixels.
        mean: the RGB mean (of values in [0, 1]) its input is normalised with.
        std: the standard deviation likewise.

    Raises:
        ValueError: timm has no network of that name, or none of its feature maps has a wanted stride.
        RuntimeError: the pretrained weights cannot be had.
    """

    def __init__(
        self, name: str, image_size: int, finest: int = 8, coarsest: int = 16, pretrained: Pretrained = False
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
            raise ValueError(
                f"timm has no network {name!r}. Set `backbone` to one of timm.list_models(); near ones are {near}."
            )
        config = timm.get_pretrained_cfg(name)
        self.mean, self.std = config.mean, config.std
        # Networks with a fixed input size are told it; others do not know the argument.
        options: dict[str, Any] = {"img_size": image_size} if config.fixed_input_size else {}
        network: Any = timm_trunk(name, **options) if pretrained is True else timm.create_model(name, **options)
        levels = getattr(network, "feature_info", [])
        self.indices = _choose([level["reduction"] for level in levels], finest, coarsest)
        if not self.indices or not hasattr(network, "forward_intermediates"):
            raise ValueError(
                f"backbone {name!r} cannot be used: its feature maps have strides "
                f"{[level['reduction'] for level in levels] or 'that it does not tell'}. Expected a timm network with "
                f"intermediate features of strides {finest} to {coarsest}, e.g. tf_efficientnet_lite0 or "
                "vit_small_patch16_dinov3."
            )
        if pretrained == "package":
            load_trunk(network, package_state(name), "the package's weights")
        network.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        self.network = network
        self.channels: list[int] = [levels[i]["num_chs"] for i in self.indices]
        self.strides: list[int] = [levels[i]["reduction"] for i in self.indices]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images ``(B, 3, S, S)`` to maps ``(B, C, S/s, S/s)``."""
        maps: list[Tensor] = self.network.forward_intermediates(
            images, indices=self.indices, stop_early=True, intermediates_only=True, output_fmt="NCHW"
        )
        return maps


def _choose(strides: list[int], finest: int, coarsest: int) -> list[int]:
    """Places of the maps with wanted strides. Where all have one stride, it is a transformer: four of its blocks."""
    if len(set(strides)) == 1:
        count = min(4, len(strides))
        return [len(strides) * (k + 1) // count - 1 for k in range(count)]
    return [i for i, stride in enumerate(strides) if finest <= stride <= coarsest]
