"""timm's networks: where they are built, given weights, and asked for feature maps."""

from collections.abc import Sequence
from typing import Any, cast

import timm
from timm.utils.model import freeze
from torch import Tensor, nn

from lightning_modules.backbones.base import Pretrained
from lightning_modules.backbones.convolutions import quicken_convolutions
from lightning_modules.backbones.packaged import PACKAGED, package_state
from lightning_modules.weights import WeightsError, load_state, read_state


def timm_network(name: str, pretrained: Pretrained = False, weights: str | None = None, **options: Any) -> nn.Module:
    """timm's network ``name``.

    Args:
        name: timm's name, e.g. ``tf_efficientnet_lite0``.
        pretrained: see :data:`Pretrained`.
        weights: file with weights under timm's names; comes before ``pretrained``.
        options: further arguments of ``timm.create_model``, e.g. ``features_only``.

    Raises:
        ValueError: timm has no network of that name, or no package is known to hold its weights.
        WeightsError: the weights cannot be read or downloaded, or are not those of the network.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        raise ValueError(f"timm has no network {name!r}. Choose one of timm.list_models(); near ones are {near}.")
    packaged = pretrained == "package" and not weights
    if packaged and name not in PACKAGED:
        raise ValueError(
            f"no Python package is known to hold weights of {name}; they are known for {', '.join(PACKAGED)}. "
            "Use `pretrained: true` (timm's hub), `weights: FILE` (weights in a file) or `pretrained: false`."
        )
    from_hub = pretrained is True and not weights
    try:
        network: nn.Module = timm.create_model(name, pretrained=from_hub, **options)
    except Exception as error:  # the hub's errors have no common base: requests, huggingface_hub, urllib, OSError
        if not from_hub:
            raise
        offer = ", `pretrained: package` (weights of an installed package)" if name in PACKAGED else ""
        raise WeightsError(
            f"the pretrained weights of {name} cannot be loaded from timm's hub: {type(error).__name__}: {error}. "
            f"Use `weights: FILE` (weights in a file){offer} or `pretrained: false`."
        ) from error
    if weights:
        load_state(network, read_state(weights), f"{weights}, given as weights of timm's {name},", partial=True)
    elif packaged:
        load_state(network, package_state(name), f"the package {PACKAGED[name][0]}", partial=True)
    quicken_convolutions(network)
    return network


class TimmFeatures(nn.Module):
    """A timm network's feature maps at some of its levels, fine to coarse; the layers after them are cut off.

    It takes them by ``forward_intermediates``: the levels are chosen by their strides, which a network tells only once
    it is built, and ``features_only`` of a vision transformer wraps the same call under other parameter names.

    Args:
        network: see :func:`timm_network`; it is changed.
        levels: places in the network's ``feature_info``, see :func:`level_strides`.

    Attributes:
        channels: of each map.
        strides: of each map, in pixels.
        mean: the RGB mean (of values in [0, 1]) its input is normalised with.
        std: the standard deviation likewise.
    """

    def __init__(self, network: nn.Module, levels: Sequence[int]) -> None:
        super().__init__()
        self.network, self.levels = cast(Any, network), list(levels)
        config, info = self.network.pretrained_cfg, self.network.feature_info
        self.mean: tuple[float, ...] = config["mean"]
        self.std: tuple[float, ...] = config["std"]
        self.channels: list[int] = [info[level]["num_chs"] for level in levels]
        self.strides: list[int] = [info[level]["reduction"] for level in levels]
        self.network.prune_intermediate_layers(self.levels, prune_norm=True, prune_head=True)

    def freeze_until(self, stride: int) -> None:
        """Keep the weights and batch-norm statistics of all layers before and at the last level of that stride.

        They are the layers that see most pixels: a backward pass that ends there is much cheaper.

        Raises:
            ValueError: the network has no level of that stride.
        """
        strides = level_strides(self.network)
        if stride not in strides:
            raise ValueError(f"frozen_stride is {stride}; expected 0 or one of this backbone's strides: {strides}.")
        last = self.network.feature_info[len(strides) - 1 - strides[::-1].index(stride)]["module"]
        names: list[str] = []
        for name, _ in self.network.named_modules():
            inside = any(name.startswith(f"{other}.") for other in names)
            if name and not inside and not last.startswith(f"{name}."):  # not one that also holds later layers
                names.append(name)
            if name == last:
                break
        freeze(self.network, names)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images ``(B, 3, S, S)`` to maps ``(B, C, S/s, S/s)``."""
        maps: list[Tensor] = self.network.forward_intermediates(
            images, indices=self.levels, stop_early=True, intermediates_only=True, output_fmt="NCHW"
        )
        return maps


def level_strides(network: nn.Module) -> list[int]:
    """The stride of each of a timm network's feature levels, in pixels; none if it cannot give feature maps."""
    if not hasattr(network, "forward_intermediates"):
        return []
    return [level["reduction"] for level in cast(Any, network).feature_info]


def features_between(
    name: str, image_size: int, finest: int, coarsest: int, pretrained: Pretrained = False
) -> TimmFeatures:
    """The feature maps of any timm network between two strides.

    A convolutional network gives one map for each stride. A vision transformer, all of whose blocks have the stride of
    its patches, gives four maps of blocks evenly spread over its depth, whatever that stride is.

    Args:
        name: timm's name, e.g. ``tf_efficientnet_lite0``, ``convnext_atto``, ``vit_small_patch16_dinov3``.
        image_size: side of the images in pixels, for networks that are built for one size.
        finest: the smallest stride wanted.
        coarsest: the largest stride wanted.
        pretrained: see :func:`timm_network`.

    Raises:
        ValueError: timm has no network of that name, or none of its feature maps has a wanted stride.
        WeightsError: the pretrained weights cannot be loaded.
    """
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    sized: dict[str, Any] = {"img_size": image_size} if config and config.fixed_input_size else {}
    network = timm_network(name, pretrained, None, **sized)
    strides = level_strides(network)
    if len(set(strides)) == 1:
        count = min(4, len(strides))
        levels = [len(strides) * (k + 1) // count - 1 for k in range(count)]
    else:
        levels = [level for level, stride in enumerate(strides) if finest <= stride <= coarsest]
    if not levels:
        raise ValueError(
            f"backbone {name!r} cannot be used: its feature maps have the strides {strides}. Expected a timm network "
            f"with feature maps of strides {finest} to {coarsest}, e.g. tf_efficientnet_lite0 or "
            "vit_small_patch16_dinov3."
        )
    return TimmFeatures(network, levels)
