"""A warping field given by its displacement at the nodes of a square grid, interpolated between them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from lightning_modules.coordinates import mesh, pixel_grid
from lightning_modules.warping.fields.base import NODES, FieldFitter, WarpingField


@dataclass(frozen=True)
class DenseField(WarpingField):
    """w(x) = x + d(x), where d is bilinear between nodes and, beyond the outermost ones, that of the nearest place.

    The first node lies at the centre of the crop's first pixel and the last one at that of its last pixel, so that a
    field with as many nodes as the crop has pixels is given at every pixel.

    Attributes:
        displacement: d at the nodes, (x, y) in crops, shape ``(B, 2, N, N)``, N ≥ 2.
        size: side in pixels of the crop that the nodes span; it only says how far they reach.
    """

    displacement: Tensor
    size: int

    def __post_init__(self) -> None:
        shape = self.displacement.shape
        if len(shape) != 4 or shape[1] != 2 or shape[2] != shape[3] or shape[2] < 2 or self.size < 2:
            raise ValueError(
                f"displacement is {tuple(shape)} for a crop of {self.size} pixels; expected (B, 2, N, N) with N ≥ 2, "
                "for a crop of at least 2 pixels."
            )

    @override
    def evaluate(self, points: Tensor) -> Tensor:
        displacement = self.displacement
        dtype = torch.promote_types(torch.promote_types(points.dtype, displacement.dtype), torch.float32)
        with torch.autocast(points.device.type, enabled=False):
            points = points.to(dtype).expand(len(displacement), -1, -1)
            # Crop coordinates of the first and the last node, 0 and (S - 1) / S, are -1 and 1 for `grid_sample`.
            places = points[:, None] * (2 * self.size / (self.size - 1)) - 1
            moved = F.grid_sample(displacement.to(dtype), places, "bilinear", "border", align_corners=True)
            return points + moved[:, :, 0].mT

    @override
    def grid(self, size: int, coarse: int | None = NODES) -> Tensor:
        """The field at every pixel, see :meth:`WarpingField.grid`. It is cheap anywhere: ``coarse`` has no effect."""
        pixels = pixel_grid(size, self.displacement.device, self.displacement.dtype).view(1, -1, 2)
        return self.evaluate(pixels).view(-1, size, size, 2)


def node_grid(nodes: int, size: int, like: Tensor) -> Tensor:
    """Crop coordinates of a :class:`DenseField`'s nodes, shape ``(nodes, nodes, 2)``, on the device of ``like``."""
    along = torch.arange(nodes, device=like.device, dtype=like.dtype) * ((size - 1) / ((nodes - 1) * size))
    return mesh(along)


def sampled_field(field: WarpingField, nodes: int, size: int, like: Tensor) -> Tensor:
    """The displacement of another field at the nodes of a :class:`DenseField`, in crops, shape ``(B, 2, N, N)``."""
    places = node_grid(nodes, size, like)
    values = field.evaluate(places.view(1, -1, 2)).view(-1, nodes, nodes, 2)
    return (values - places).permute(0, 3, 1, 2)


class Identity(FieldFitter):
    """No warp: every place of the stylised crop takes what the photo's crop has there."""

    fits_landmarks = False

    @override
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> DenseField:
        return DenseField(photo_landmarks.new_zeros(len(photo_landmarks), 2, 2, 2), 2)
