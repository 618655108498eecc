"""Convolutional pose machines: heatmaps that stage after stage refines, seeing the features and the last heatmaps.

Wei, Ramakrishna, Kanade, Sheikh: "Convolutional Pose Machines", CVPR 2016. OpenPose's face network and SBR's detector
are two of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.landmarkers.backbones import Backbone, Pretrained
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.heatmaps import cell_centre, gaussian_heatmaps, soft_argmax
from lightning_modules.landmarkers.losses import interocular_loss, weighted_mean
from lightning_modules.landmarkers.pretrained import hub_state, load_trunk

Layer = tuple[int, int]
"""A convolution: channels and side of the kernel."""

FAINTEST = 1e-6
"""Below this a heatmap counts as empty where its centre of mass is taken."""


@dataclass
class PoseMachineOutput(LandmarkerOutput):
    """What a pose machine says of B crops.

    Attributes:
        maps: every stage's heatmaps, shape ``(B, S, K, h, w)``: the 68 landmarks come first, the background last.
    """

    maps: Tensor | None = None


class VGGTrunk(Backbone):
    """The first blocks of a VGG network, in which pooling halves the side between blocks, and a few layers more.

    Args:
        name: timm's name of the network, e.g. ``vgg19``.
        blocks: channels of the 3×3 convolutions of each block.
        neck: channels of the 3×3 convolutions that follow, which are no part of VGG.
        pretrained: start the blocks from timm's ImageNet weights.

    Raises:
        ValueError: ``pretrained`` names a package, and none holds VGG's weights.
        RuntimeError: the pretrained weights cannot be had.
    """

    def __init__(self, name: str, blocks: Sequence[Sequence[int]], neck: Sequence[int], pretrained: Pretrained) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks:
            layers += [nn.MaxPool2d(2)] if layers else []
            layers += conv_stack(channels, [(width, 3) for width in block])
            channels = block[-1]
        self.vgg = nn.Sequential(*layers)
        self.neck = nn.Sequential(*conv_stack(channels, [(width, 3) for width in neck]))
        if pretrained == "package":
            raise ValueError(
                f"no Python package is known to hold weights of {name}. Use `pretrained: true` (timm's hub), "
                "`weights: FILE` (a saved landmarker) or `pretrained: false`."
            )
        if pretrained:
            state = {key.removeprefix("features."): value for key, value in hub_state(name).items()}
            load_trunk(self.vgg, state, f"timm's {name}")

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.neck(self.vgg(images))
        return features


def conv_stack(channels: int, layers: Sequence[Layer], batch_norm: bool = False) -> list[nn.Module]:
    """Convolutions that keep the side, each followed by a ReLU, initialised for it (He et al., 2015)."""
    modules: list[nn.Module] = []
    for width, side in layers:
        conv = nn.Conv2d(channels, width, side, padding=side // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        modules += [conv, nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]
        channels = width
    return modules


def heatmap_stage(channels: int, layers: Sequence[Layer], maps: int, batch_norm: bool = False) -> nn.Sequential:
    """A stage: convolutions with ReLU, then a 1×1 one to ``maps`` heatmaps, at first nearly all background."""
    head = nn.Conv2d(layers[-1][0], maps, 1)
    nn.init.normal_(head.weight, std=0.01)
    head.bias = nn.Parameter(torch.zeros(maps).index_fill(0, torch.tensor(maps - 1), 1.0))
    return nn.Sequential(*conv_stack(channels, layers, batch_norm), head)


def centre_of_mass(heatmaps: Tensor, radius: float, offset: float, power: float = 1.0) -> Tensor:
    """The centre of mass of what is positive near a heatmap's highest cell.

    It is exact for a Gaussian that stays, raised to ``power``, at least about half a cell wide; the softmax of such a
    map would be drawn towards the middle of a cell. A power of 1 is SBR's published decoding, a power of 2 lets small
    errors far from the peak count for little.

    Args:
        heatmaps: shape ``(B, K, h, w)``.
        radius: how many cells in x and in y belong to the neighbourhood; the choice of its middle has no gradient.
        offset: where in a cell a landmark on it lies, in cells (see :mod:`~lightning_modules.landmarkers.heatmaps`).
        power: of the heatmap, to weigh cells by.

    Returns:
        Crop coordinates, shape ``(B, K, 2)``; float32 also for half-precision heatmaps.
    """
    # The softmax of a logarithm is the share in the whole.
    heatmaps = heatmaps if heatmaps.dtype == torch.float64 else heatmaps.float()
    return soft_argmax(heatmaps.clamp_min(FAINTEST).log(), temperature=1 / power, radius=radius, offset=offset)


class PoseMachine(Landmarker):
    """A backbone and stages of heatmaps; each stage after the first sees the features and the last stage's heatmaps.

    Args:
        image_size: side of the crops, in pixels.
        backbone: images to features, of which ``stride`` pixels of the crop make one cell.
        stages: the stages, each from its input to ``K`` heatmaps.
        stride: pixels per cell.
        sigma: standard deviation of the target Gaussians, in cells.
        radius: cells around the highest one whose centre of mass is the landmark.
        power: of the heatmaps, to take the centre of mass with.
        landmark_weight: of the landmarks' own error in the loss, beside the heatmaps'; 0 is published.
        channels_last: run in that memory format, which is quicker for most backbones on CPUs and tensor cores.

    Raises:
        ValueError: ``image_size`` is no multiple of the stride.
    """

    def __init__(
        self,
        image_size: int,
        backbone: Backbone,
        stages: Sequence[nn.Module],
        stride: int,
        sigma: float,
        radius: float,
        power: float,
        landmark_weight: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        multiple = max(stride, 8 if isinstance(backbone, VGGTrunk) else 32)
        if image_size % multiple:
            raise ValueError(f"image_size is {image_size}; expected a multiple of {multiple} for this backbone.")
        self.image_size, self.sigma, self.radius, self.power = image_size, sigma, radius, power
        self.landmark_weight = landmark_weight
        self.offset, self.channels_last = cell_centre(stride), channels_last
        self.backbone = backbone
        self.stages = nn.ModuleList(stages)
        self.image_mean: Tensor
        self.image_std: Tensor
        # Kept with the weights: published ones bring a normalisation of their own.
        self.register_buffer("image_mean", torch.tensor(backbone.mean).view(3, 1, 1))
        self.register_buffer("image_std", torch.tensor(backbone.std).view(3, 1, 1))
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """The backbone's map, shape ``(B, C, h, w)``, which all stages see."""
        images = (images - self.image_mean) / self.image_std
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> PoseMachineOutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``).

        Returns:
            ``stages`` of shape ``(B, S, 68, 2)``, ``heatmaps`` of the last stage and ``maps`` of all.
        """
        features = self.features(images)
        first, *later = self.stages
        maps = [first(features)]
        for stage in later:
            maps.append(stage(torch.cat([maps[-1], features], dim=1)))
        landmarks = [self._read(each[:, :NUM_LANDMARKS]) for each in maps]
        return PoseMachineOutput(
            stages=torch.stack(landmarks, dim=1),
            heatmaps=maps[-1][:, :NUM_LANDMARKS],
            features=features,
            maps=torch.stack(maps, dim=1),
        )

    def _read(self, heatmaps: Tensor) -> Tensor:
        return centre_of_mass(heatmaps, self.radius, self.offset, self.power)

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Squared error of the heatmaps of landmarks and background, mean over maps and over stages alike.

        The target is a Gaussian around each landmark, and for the background what the highest of them leaves to 1. The
        unit is the energy of a Gaussian (π σ²), so that empty heatmaps score about 1 at any resolution. Maps between
        the landmarks' and the background (OpenPose's pupils) are not compared: there is no label for them. If asked
        for, the inter-ocular-normalised L2 of every stage's landmarks is added.

        Args:
            output: what :meth:`forward` returned.
            target: crop coordinates, shape ``(B, 68, 2)``.
            weight: how much each face counts, shape ``(B,)``; 1 each if None. All zero gives 0.
        """
        assert isinstance(output, PoseMachineOutput), "it is this landmarker's own output"
        assert output.maps is not None, "forward gives all stages' heatmaps"
        maps = output.maps if output.maps.dtype == torch.float64 else output.maps.float()
        drawn = gaussian_heatmaps(target.to(maps), (maps.shape[-2], maps.shape[-1]), self.sigma, self.offset)
        wanted = torch.cat([drawn, 1 - drawn.amax(1, keepdim=True)], dim=1)
        found = torch.cat([maps[:, :, :NUM_LANDMARKS], maps[:, :, -1:]], dim=2)
        energy = (found - wanted[:, None]).square().sum((-1, -2)).mean((1, 2))
        loss = weighted_mean(energy / (math.pi * self.sigma**2), weight)
        if self.landmark_weight:
            loss = loss + self.landmark_weight * interocular_loss(output.stages, target, weight)
        return loss
