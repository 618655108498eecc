"""The first blocks of a VGG network, as the published pose machines use them."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_modules.backbones.base import Backbone, Pretrained
from lightning_modules.backbones.timm_network import timm_network
from lightning_modules.weights import load_state

Layer = tuple[int, int]
"""A convolution: channels and side of the kernel."""


class VGGTrunk(Backbone):
    """The first blocks of a VGG network, with 2×2 pooling between blocks, and further 3×3 convolutions.

    Args:
        name: timm's name of the network, e.g. ``vgg19``.
        blocks: channels of the 3×3 convolutions of each block.
        neck: channels of the 3×3 convolutions that follow, which are no part of VGG.
        pretrained: start the blocks from timm's ImageNet weights, see :func:`timm_network`.
    """

    def __init__(
        self, name: str, blocks: Sequence[Sequence[int]], neck: Sequence[int], pretrained: Pretrained = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks:
            layers += [nn.MaxPool2d(2)] if layers else []
            layers += conv_stack(channels, [(width, 3) for width in block])
            channels = block[-1]
        self.vgg = nn.Sequential(*layers)
        self.neck = nn.Sequential(*conv_stack(channels, [(width, 3) for width in neck]))
        self.channels = neck[-1]
        self.stride = self.coarsest = 2 ** (len(blocks) - 1)
        if pretrained:
            state = timm_network(name, pretrained).state_dict()
            blocks_only = {key.removeprefix("features."): value for key, value in state.items()}
            load_state(self.vgg, blocks_only, f"timm's {name}", partial=True)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.neck(self.vgg(images))
        return features


def conv_stack(channels: int, layers: Sequence[Layer], batch_norm: bool = False) -> list[nn.Module]:
    """Convolutions that keep the side, each followed by a ReLU, initialised for it (He et al., ICCV 2015)."""
    modules: list[nn.Module] = []
    for width, side in layers:
        conv = nn.Conv2d(channels, width, side, padding=side // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        modules += [conv, nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]
        channels = width
    return modules
