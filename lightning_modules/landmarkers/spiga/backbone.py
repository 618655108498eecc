"""SPIGA's backbone: stacked hourglasses that share heatmaps, attention by facial edges, and the head's pose.

And one in their place that starts from ImageNet's weights, for light forms and short trainings.

Prados-Torreblanca, Buenaposada, Baumela: "Shape Preserving Facial Landmarks with Graph Attention Networks", BMVC 2022.
The hourglasses shrink and grow by convolutions with weights; no convolution has a bias.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.backbones.base import Normalization, Normalizing, Pretrained
from lightning_modules.backbones.pyramid import PyramidBackbone
from lightning_modules.landmarkers.base import full_precision
from lightning_modules.landmarkers.hourglass import Residual

CORE = 4
"""Side of the map at the bottom of an hourglass, from which the pose is read."""

EDGES = (
    (*range(0, 17),),
    (*range(17, 22),),
    (*range(22, 27),),
    (*range(27, 31),),
    (*range(31, 36),),
    (36, 37, 38, 39),
    (36, 39, 40, 41),
    (42, 43, 44, 45),
    (42, 45, 46, 47),
    (*range(48, 55),),
    (48, *range(54, 60)),
    (*range(60, 65),),
    (60, *range(64, 68)),
)
"""The landmarks of the 13 facial edges (published): eyes and lips have an upper and a lower one that share corners."""


class ConvNorm(nn.Module):
    """Convolution, batch-norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding=(side - 1) // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Doubling(nn.Module):
    """Transposed convolution to twice the side, batch-norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.deconv(x)))


class Hourglass(nn.Module):
    """Down to a ``2**levels``-th of the resolution and up again; also returns the map at the bottom."""

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.up1 = Residual(channels, channels, bias=False)
        self.pool1 = ConvNorm(channels, channels, 2, 2)
        self.low1 = Residual(channels, channels, bias=False)
        self.low2: nn.Module = (
            Hourglass(levels - 1, channels) if levels > 1 else Residual(channels, channels, bias=False)
        )
        self.low3 = Residual(channels, channels, bias=False)
        self.up2 = Doubling(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low2(self.low1(self.pool1(x)))
        low, core = low if isinstance(low, tuple) else (low, low)
        return self.up1(x) + self.up2(self.low3(low)), core


class AddCoordinates(nn.Module):
    """Adds each pixel's column and row (-1 to 1) and its distance from (0.5, 0.5) in these: 3 channels (published)."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        x = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device).expand(height, width)
        y = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device)[:, None].expand(height, width)
        channels = torch.stack([x, y, torch.hypot(x - 0.5, y - 0.5)])
        return torch.cat([images, channels.expand(images.shape[0], -1, -1, -1)], dim=1)


class MultitaskBackbone(nn.Module):
    """Images to a feature map at a quarter of their side, and to the vectors that poses are read from.

    Args:
        levels: how often each hourglass halves the resolution; the bottom must be 4 cells wide.
        channels: of all maps at a quarter of the side, a multiple of 4.
        stacks: hourglasses one after the other.
    """

    def __init__(self, levels: int, channels: int, stacks: int) -> None:
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.stem = nn.Sequential(
            AddCoordinates(),
            ConvNorm(6, quarter, 7, 2),
            Residual(quarter, half, bias=False),
            ConvNorm(half, half, 2, 2),
            Residual(half, half, bias=False),
            Residual(half, channels, bias=False),
        )

        def necks(halvings: int) -> nn.ModuleList:
            return nn.ModuleList(_neck(channels, halvings) for _ in range(stacks))

        def mixes(inputs: int, outputs: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(inputs, outputs, 1, bias=False) for _ in range(stacks - 1))

        self.hourglasses = nn.ModuleList(Hourglass(levels, channels) for _ in range(stacks))
        self.outs, self.cores = necks(0), necks(2)
        self.points, self.edges = mixes(channels, NUM_LANDMARKS), mixes(channels, len(EDGES))
        self.maps = mixes(channels, NUM_LANDMARKS)
        self.merge_maps, self.merge_features = mixes(NUM_LANDMARKS, channels), mixes(channels, channels)
        self.membership: Tensor
        self.register_buffer("membership", _membership()[..., None, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From images (RGB in [0, 1], ``(B, 3, S, S)``) to features ``(B, C, S/4, S/4)`` and vectors.

        The vectors are each stack's, shape ``(B, stacks, C)``.
        """
        with full_precision(images):  # coordinates are among its channels
            # Published weights take blue first, in [0, 1]: the program's images are as OpenCV has them, / 255.
            x = self.stem(images.flip(1))
        vectors: list[Tensor] = []
        for i, (hourglass, neck, core_neck) in enumerate(zip(self.hourglasses, self.outs, self.cores, strict=True)):
            features, core = hourglass(x)
            features = neck(features)
            vectors.append(core_neck(core).flatten(1))
            if i < len(self.merge_maps):
                x = x + self.merge_maps[i](self._attended(i, features)) + self.merge_features[i](features)
        return features, torch.stack(vectors, dim=1)

    def _attended(self, i: int, features: Tensor) -> Tensor:
        """Stack ``i``'s heatmaps, attended to where both a landmark's facial edges and its point are."""
        edges = F.conv2d(self.edges[i](features).sigmoid(), self.membership).clamp_max(1)
        attended: Tensor = self.maps[i](features) * self.points[i](features).sigmoid() * edges
        return attended


class PyramidMultitask(Normalizing):
    """The same from a feature pyramid over any convolutional timm network: one vector, no heatmaps.

    The pose is read off its map, halved until it is 4 cells wide as the hourglasses' core is.

    Args:
        name: timm's name.
        levels: how often the map at a quarter of the images' side is halved.
        channels: of that map, a multiple of 4.
        pretrained: see :func:`~lightning_modules.backbones.timm_network.timm_network`.
        channels_last: run the pyramid in that memory format.

    Raises:
        ValueError: timm has no such network, or it has no feature map of stride 4.
        WeightsError: the pretrained weights cannot be loaded.
    """

    def __init__(
        self, name: str, levels: int, channels: int, pretrained: Pretrained = False, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.pyramid = PyramidBackbone(name, channels, pretrained)
        self.set_normalization(Normalization(self.pyramid.mean, self.pyramid.std), channels_last)
        halved = (ConvNorm(channels, channels, 2, 2) for _ in range(levels))
        self.core = nn.Sequential(*halved, _neck(channels, 2))
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From images (RGB in [0, 1], ``(B, 3, S, S)``) to features ``(B, C, S/4, S/4)`` and a vector ``(B, 1, C)``."""
        features: Tensor = self.pyramid(self.normalized(images))
        return features, self.core(features).flatten(1)[:, None]


def _neck(channels: int, halvings: int) -> nn.Sequential:
    """A residual block and a convolution, as often as the side is halved, or once at the same side."""
    side, stride = (2, 2) if halvings else (1, 1)
    layers: list[nn.Module] = []
    for _ in range(max(1, halvings)):
        layers += [Residual(channels, channels, bias=False), ConvNorm(channels, channels, side, stride)]
    return nn.Sequential(*layers)


def _membership() -> Tensor:
    """1 where a landmark lies on an edge, shape ``(68, 13)``."""
    members = torch.zeros(NUM_LANDMARKS, len(EDGES))
    for edge, landmarks in enumerate(EDGES):
        members[list(landmarks), edge] = 1
    return members
