"""AutoToon: from a photo alone to the field that exaggerates it as artists do (Gong, Hold-Geoffroy, Lu, WACV 2020).

    from lightning_modules.warping.fields.autotoon import AutoToon
    warped = AutoToon(weights="field.ckpt").fit(landmarks, landmarks, photo).warp(photo)

The stylised face that the field maps from is an exaggeration of the photo itself, in the photo's own crop: w(x) says
which place of the photo is seen at place x of its caricature. No other stylised face plays a part.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.backbones.base import Pretrained
from lightning_modules.backbones.timm_network import features_between
from lightning_modules.warping.fields.base import FieldFitter
from lightning_modules.warping.fields.dense import DenseField
from lightning_modules.weights import WeightsError, load_state, read_state

_UNIT: Final = 1 / 200
"""Crops to a unit of the last convolution: it gives hundredths of the sampling grid, whose side is 2."""

PIXEL_STD: Final = (0.08460502, 0.07533269, 0.07269038)
"""Of R, G, B in [0, 1], by which the published program divides before colours are compared."""

FIELD_WEIGHT: Final = 0.7
SMOOTHNESS_WEIGHT: Final = 1e-6


class AutoToon(nn.Module, FieldFitter):
    """SE-ResNet-50 up to stride 8, averaged to 32×32 cells, a 1×1 convolution to two channels: the field's nodes.

    Args:
        backbone: timm's name; published: ``seresnet50``. ``tf_efficientnet_lite0`` is light.
        pretrained: the backbone's start, see :data:`Pretrained`. The published start is from face recognition
            (VGGFace2), in a pickled file that is not read here.
        weights: a state dict of this class, e.g. as :mod:`experiments.artifacts.fields` makes it.
        coarsest: the coarsest of the backbone's strides whose features are used, beside 8; published: none.
        nodes: of the field, in either direction.
        image_size: side of the photos, for backbones that are built for one size.
        strength: factor of the displacement: 0 leaves the photo as it is, above 1 exaggerates further than learned.
        trainable: a method that holds the field goes on training it; otherwise it stays as it is.

    Raises:
        ValueError: ``nodes`` is below 2, or see :func:`features_between`.
        WeightsError: weights cannot be read or do not fit.
    """

    needs_images, fits_landmarks = True, False

    def __init__(
        self,
        backbone: str = "seresnet50",
        pretrained: Pretrained = False,
        weights: str | None = None,
        coarsest: int = 8,
        nodes: int = 32,
        image_size: int = 256,
        strength: float = 1.0,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if nodes < 2:
            raise ValueError(f"nodes is {nodes}; expected at least 2.")
        self.nodes, self.strength, self.trainable = nodes, strength, trainable
        self.features = features_between(backbone, image_size, 8, coarsest, False if weights else pretrained)
        self.last = nn.Conv2d(sum(self.features.channels), 2, kernel_size=1)
        # The identity to begin with, up to what features of any backbone differ by.
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.get_parameter("bias"))
        self.trained: Tensor
        self.register_buffer("trained", torch.tensor(False))
        if weights:
            load_state(self, read_state(weights), f"{weights}, given as weights of AutoToon,")
        self.requires_grad_(trainable).train(trainable)

    @override
    def train(self, mode: bool = True) -> Self:
        """Training mode only where it is ``trainable``: batch norm's statistics stay, too."""
        return super().train(mode and self.trainable)

    def forward(self, photo: Tensor) -> Tensor:
        """The displacement at the nodes (see :class:`DenseField`), in crops, of strength 1.

        Args:
            photo: RGB in [0, 1], shape ``(B, 3, S, S)``.

        Returns:
            Shape ``(B, 2, nodes, nodes)``.
        """
        mean, std = (photo.new_tensor(values)[:, None, None] for values in (self.features.mean, self.features.std))
        maps = [_resized(features, self.nodes) for features in self.features((photo - mean) / std)]
        displacement: Tensor = self.last(torch.cat(maps, dim=1)) * _UNIT
        return displacement

    @override
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> DenseField:
        """The field of each photo's caricature; see the module. Landmarks and stylised faces play no part.

        Raises:
            ValueError: no photo is given.
            WeightsError: the network was never trained and is not being trained.
        """
        if photo is None:
            raise ValueError("AutoToon needs the photos: found None; expected (B, 3, S, S).")
        if not self.trainable and not bool(self.trained):
            raise WeightsError(
                "AutoToon is untrained: found neither weights nor trainable=true; expected weights=FILE. Make one with "
                "`make figure8`, which trains it on pairs of photos and caricatures and names the file."
            )
        # Where nothing of it is trained, the gradient to the photo is not wanted either: it costs as much again.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trainable):
            displacement = self(photo)
        return DenseField(self.strength * displacement, photo.shape[-1])


def _resized(features: Tensor, nodes: int) -> Tensor:
    """Averaged to ``nodes`` × ``nodes`` cells, as published; coarser features are interpolated."""
    if features.shape[-1] >= nodes:
        return F.adaptive_avg_pool2d(features, nodes)
    return F.interpolate(features, size=(nodes, nodes), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class AutoToonLoss:
    """The objective of AutoToon; scalars.

    Attributes:
        pixels: mean absolute difference of colours, divided by :data:`PIXEL_STD`, between the warped photo and the
            caricature.
        field: mean absolute difference of the displacement at the nodes, in units of the sampling grid (half a crop).
        smoothness: :func:`roughness`.
    """

    pixels: Tensor
    field: Tensor
    smoothness: Tensor

    @property
    def total(self) -> Tensor:
        """Pixels + 0.7 field + 1e-6 smoothness, the published weights."""
        return self.pixels + FIELD_WEIGHT * self.field + SMOOTHNESS_WEIGHT * self.smoothness


def autotoon_loss(displacement: Tensor, artists: Tensor, photo: Tensor, caricature: Tensor) -> AutoToonLoss:
    """How far a displacement and the photo warped by it are from what the artist made (paper and published program).

    Args:
        displacement: at the nodes, in crops, shape ``(B, 2, N, N)``.
        artists: the artist's, likewise.
        photo: RGB in [0, 1], shape ``(B, 3, S, S)``.
        caricature: likewise.
    """
    size = photo.shape[-1]
    upsampled = DenseField(displacement, size).grid(size)
    identity = DenseField(torch.zeros_like(displacement[:1]), size).grid(size)
    warped = DenseField(displacement, size).warp(photo)
    std = photo.new_tensor(PIXEL_STD)[:, None, None]
    return AutoToonLoss(
        pixels=((warped - caricature).abs() / std).mean(),
        field=2 * (displacement - artists).abs().mean(),
        smoothness=roughness((upsampled - identity).permute(0, 3, 1, 2)),
    )


def roughness(displacement: Tensor) -> Tensor:
    """One minus the cosine between the displacements of neighbours, across and down, summed over pixels and faces.

    Args:
        displacement: at every pixel, any unit, shape ``(B, 2, S, S)``.
    """
    here = displacement[:, :, :-1, :-1]
    across = F.cosine_similarity(here, displacement[:, :, :-1, 1:], dim=1)
    down = F.cosine_similarity(here, displacement[:, :, 1:, :-1], dim=1)
    return (2 - across - down).sum()


def autotoon_adam(network: AutoToon, learning_rate: float = 1e-4) -> torch.optim.Adam:
    """The published optimiser."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.5, 0.999))


def save_field(network: nn.Module, path: Path) -> None:
    """Write a field's weights, to be given as ``weights``; a killed process leaves no half of a file."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    torch.save(network.state_dict(), unfinished)
    unfinished.replace(path)
