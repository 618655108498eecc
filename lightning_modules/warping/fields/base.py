"""The interfaces of warping fields and of what fits them to pairs of faces."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from torch import Tensor

from lightning_modules.sampling import Padding
from lightning_modules.warping.dense_field import warp_image

NODES: Final = 65
"""Nodes across, by default, at which a field is evaluated before upsampling."""


class WarpingField(ABC):
    """w_γ of B pairs of faces: a map from stylised-face coordinates to photo coordinates, both of the crop."""

    @abstractmethod
    def evaluate(self, points: Tensor) -> Tensor:
        """The field at any points.

        Args:
            points: stylised-face coordinates, shape ``(B, N, 2)``, or ``(1, N, 2)`` for the same in each face.

        Returns:
            Photo coordinates, shape ``(B, N, 2)``.
        """

    @abstractmethod
    def grid(self, size: int, coarse: int | None = NODES) -> Tensor:
        """The field at every pixel of the stylised crop.

        Args:
            size: side of the crop in pixels.
            coarse: nodes across at which a field that is costly to evaluate is evaluated, before upsampling; None
                evaluates it at every pixel.

        Returns:
            Photo coordinates, shape ``(B, size, size, 2)``.
        """

    def warp(self, image: Tensor, coarse: int | None = NODES, padding_mode: Padding = "border") -> Tensor:
        """Warp photos onto the stylised faces: ``warped(x) = photo(w(x))``; differentiable in the image and the field.

        Args:
            image: the photos, shape ``(B, C, S, S)``.
            coarse: see :meth:`grid`.
            padding_mode: what is sampled outside the photo: its border's colour, or black.

        Returns:
            The photos in the shape of the stylised faces, shape ``(B, C, S, S)``.
        """
        return warp_image(image, self.grid(image.shape[-1], coarse), padding_mode)


class FieldFitter(ABC):
    """Fits warping fields to pairs of faces. A fitter with parameters is an ``nn.Module`` as well."""

    needs_images: ClassVar[bool] = False
    """Whether :meth:`fit` looks at the images."""

    @property
    @abstractmethod
    def fits_landmarks(self) -> bool:
        """Whether its fields take the predicted landmarks to the photo's, up to rounding."""

    @abstractmethod
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> WarpingField:
        """The field of each pair.

        Args:
            photo_landmarks: the photos', crop coordinates, shape ``(B, 68, 2)``.
            predicted: those predicted on the stylised faces, crop coordinates, shape ``(B, 68, 2)``.
            photo: RGB in [0, 1], shape ``(B, 3, S, S)``; must be given if ``needs_images``.
            stylised: likewise.
        """
