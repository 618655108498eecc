"""STAR: stacked hourglasses whose loss forgives errors along the directions in which a landmark is ambiguous.

Zhou, Li, Liu, Wang, Yu, Ji: "STAR Loss: Reducing Semantic Ambiguity in Facial Landmark Detection", CVPR 2023. Its
attention by facial edges and points (AAM) is from Huang, Yang, Li, Kim, Wei: "ADNet: Leveraging Error-Bias Towards
Normal Direction in Face Alignment", ICCV 2021.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.coordinates import cell_centre, edge_shares, sampling_to_crop, signed
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.hourglass import CoordConv, Hourglass, Residual, Stem
from lightning_modules.landmarkers.losses import weighted_mean
from lightning_modules.landmarkers.star.edges import EDGES, edge_maps, edge_membership
from lightning_modules.landmarkers.star.losses import adaptive_wing_loss, heatmap_moments, star_loss
from lightning_modules.weights import Published, start_from

STRIDE = 4
"""Pixels of the crop to a cell of the maps."""
POINT_SIGMA = 1.5
"""Standard deviation of the target point maps, in pixels of the crop."""


def _unused(name: str, value: Tensor) -> bool:
    """The edges' members, which are fixed, and convolutions on shortcuts between as many channels, never applied."""
    return name.startswith("e2h_transform.") or (".skip_layer." in name and not name.startswith(("pre.1.", "pre.4.")))


PUBLISHED_STAR = Published(
    name="STAR",
    marker="e2h_transform.weight",
    renamed=(
        (r"^pre\.0\.", "stem."),
        (r"^pre\.1\.", "stem.block1."),
        (r"^pre\.3\.", "stem.block2."),
        (r"^pre\.4\.", "stem.block3."),
        (r"^hgs\.(\d+)\.coordconv\.conv\.", r"stacks.\1.coordinates."),
        (r"^hgs\.(\d+)\.", r"stacks.\1.hourglass."),
        (r"^features\.(\d+)\.0\.", r"stacks.\1.neck.0."),
        (r"^features\.(\d+)\.1\.conv\.", r"stacks.\1.neck.1."),
        (r"^features\.(\d+)\.1\.bn\.", r"stacks.\1.neck.2."),
        (r"^out_(heat|edge|point)maps\.(\d+)\.conv\.", r"stacks.\2.\1maps."),
        (r"^merge_(\w+)\.(\d+)\.conv\.", r"merges.\2.\1."),
        (r"\.(conv\d)\.conv\.", r".\1."),
        (r"\.skip_layer\.conv\.", ".skip."),
    ),
    unused=_unused,
)


@dataclass
class StackMaps:
    """The maps of one hourglass, all of shape ``(B, ·, S/4, S/4)``.

    Attributes:
        features: what the maps are read from.
        heatmaps: where each landmark may be, normalised and not negative, 68 channels.
        edgemaps: where the nine facial edges are, in [0, 1].
        pointmaps: where each landmark is, in [0, 1], 68 channels.
        attended: the heatmaps where both a landmark's edges and its point are; landmarks are read off these.
    """

    features: Tensor
    heatmaps: Tensor
    edgemaps: Tensor
    pointmaps: Tensor
    attended: Tensor


@dataclass
class STAROutput(LandmarkerOutput):
    """Adds the maps of every stack, which the loss compares."""

    maps: tuple[StackMaps, ...] = ()


class Stack(nn.Module):
    """An hourglass and the maps read from it."""

    def __init__(self, channels: int, levels: int, first: bool) -> None:
        super().__init__()
        self.coordinates = CoordConv(channels, channels, boundary=not first)
        self.hourglass = Hourglass(levels, channels)
        self.neck = nn.Sequential(
            Residual(channels, channels), nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.heatmaps = nn.Conv2d(channels, NUM_LANDMARKS, 1)
        self.edgemaps = nn.Conv2d(channels, len(EDGES), 1)
        self.pointmaps = nn.Conv2d(channels, NUM_LANDMARKS, 1)
        self.membership: Tensor
        self.register_buffer("membership", edge_membership()[..., None, None], persistent=False)

    def forward(self, x: Tensor, boundary: Tensor | None) -> StackMaps:
        """From ``x`` of shape ``(B, C, h, w)``, and the last stack's map of the boundary, ``(B, 1, h, w)``, or None."""
        features = self.neck(self.hourglass(self.coordinates(x, boundary)))
        heatmaps = torch.relu(F.instance_norm(self.heatmaps(features)))
        edgemaps, pointmaps = self.edgemaps(features).sigmoid(), self.pointmaps(features).sigmoid()
        attended = F.conv2d(edgemaps, self.membership) * pointmaps * heatmaps
        return StackMaps(features, heatmaps, edgemaps, pointmaps, attended)


class Merge(nn.Module):
    """Projects a stack's maps to what is added to the input of the next."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 1)
        self.heatmaps = nn.Conv2d(NUM_LANDMARKS, channels, 1)
        self.edgemaps = nn.Conv2d(len(EDGES), channels, 1)
        self.pointmaps = nn.Conv2d(NUM_LANDMARKS, channels, 1)

    def forward(self, maps: StackMaps) -> Tensor:
        found: Tensor = (
            self.features(maps.features)
            + self.heatmaps(maps.heatmaps)
            + self.pointmaps(maps.pointmaps)
            + self.edgemaps(maps.edgemaps)
        )
        return found


class STAR(Landmarker):
    """STAR's network and loss; its defaults are the published ones (17.1 million parameters, 13.4 without the unused).

    Each of the stacked hourglasses makes heatmaps, and attends in them to where a landmark's facial edges and its point
    are (AAM); a landmark is the mean position under its attended heatmap. All stacks are trained.

    Args:
        image_size: side of the crops, in pixels; a multiple of ``4 * 2**levels``.
        channels: of the hourglasses; a multiple of 8.
        stacks: number of hourglasses.
        levels: how often an hourglass halves its resolution.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published checkpoint of a 68-point model.
        restriction: weight of the heatmaps' variances in the STAR loss (ω).
        map_weight: weight of the losses of edge and point maps.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` cannot be read or does not fit.
    """

    def __init__(
        self,
        image_size: int = 256,
        channels: int = 256,
        stacks: int = 4,
        levels: int = 4,
        weights: str | None = None,
        restriction: float = 1.0,
        map_weight: float = 10.0,
    ) -> None:
        super().__init__()
        if image_size % (STRIDE * 2**levels):
            raise ValueError(
                f"image_size is {image_size}; expected a multiple of {STRIDE * 2**levels}, which {levels} levels halve "
                f"to whole cells. Change image_size or levels."
            )
        if channels % 8 or stacks < 1 or levels < 1:
            raise ValueError(
                f"channels={channels}, stacks={stacks}, levels={levels}; expected channels a multiple of 8, and at "
                "least one stack of one level."
            )
        self.image_size, self.restriction, self.map_weight = image_size, restriction, map_weight
        self.stem = Stem(channels)
        self.stacks = nn.ModuleList(Stack(channels, levels, first=i == 0) for i in range(stacks))
        self.merges = nn.ModuleList(Merge(channels) for _ in range(stacks - 1))
        if weights:
            start_from(self, weights, PUBLISHED_STAR)

    def forward(self, images: Tensor) -> STAROutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``).

        Returns:
            ``stages`` of shape ``(B, stacks, 68, 2)``; ``heatmaps`` (the last stack's attended ones, not negative) of
            shape ``(B, 68, S/4, S/4)``; ``uncertainty``, how wide these are; and all stacks' ``maps``.
        """
        maps = self._maps(_normalized(images))
        moments = [heatmap_moments(stack.attended.float()) for stack in maps]
        # Published labels have -1 and 1 at the crop's edges, heatmaps in their first and last cell, half a cell
        # further in: the network learns the difference.
        stages = torch.stack([sampling_to_crop(means, self.image_size) for means, _ in moments], dim=1)
        variance = moments[-1][1].diagonal(dim1=-2, dim2=-1).mean(-1)
        # Half a map's side is half a crop's.
        uncertainty = variance.detach().clamp_min(0).sqrt() / 2
        return STAROutput(
            stages,
            heatmaps=maps[-1].attended,
            uncertainty=uncertainty,
            features=maps[-1].features,
            maps=tuple(maps),
        )

    def features(self, images: Tensor) -> Tensor:
        """The feature map of the last stack, which its maps are read from: ``(B, channels, S/4, S/4)``."""
        return self._maps(_normalized(images))[-1].features

    def _maps(self, images: Tensor) -> list[StackMaps]:
        x, boundary = self.stem(images), None
        found: list[StackMaps] = []
        for i, stack in enumerate(self.stacks):
            found.append(stack(x, boundary))
            # As published: the last landmark's heatmap (on the lower lip) serves as the boundary.
            boundary = found[-1].heatmaps[:, -1:].detach()
            if i < len(self.merges):
                x = x + self.merges[i](found[-1])
        return found

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """STAR loss of the attended heatmaps and AWing loss of edge and point maps, each stack twice the one before."""
        assert isinstance(output, STAROutput), "the output of a STAR"
        target = target.float()
        size = (output.maps[0].edgemaps.shape[-2], output.maps[0].edgemaps.shape[-1])
        edges = edge_maps(target, size, STRIDE)
        points = gaussian_heatmaps(target.clamp(0, 1), size, POINT_SIGMA / STRIDE, cell_centre(STRIDE))
        positions = signed(edge_shares(target, self.image_size)).clamp(-1, 1)
        total = target.new_zeros(len(target))
        for i, maps in enumerate(output.maps):
            of_maps = adaptive_wing_loss(maps.edgemaps.float(), edges) + adaptive_wing_loss(
                maps.pointmaps.float(), points
            )
            of_positions = star_loss(maps.attended.float(), positions, self.restriction)
            total = total + 2.0 ** (i + 1 - len(output.maps)) * (of_positions + self.map_weight * of_maps)
        return weighted_mean(total, weight)


def _normalized(images: Tensor) -> Tensor:
    """Published weights take blue first, in [-1, 1]: the program's images are as OpenCV reads them, · 2 / 255 - 1."""
    return images.flip(1) * 2 - 1
