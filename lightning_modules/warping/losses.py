"""The terms of the warping objective (eq. 3 of the paper): how well a warped photo matches a stylised face.

Image terms are modules, ``loss(warped, stylised, mask) -> (B,)``, computed in float32 or better with autocast off.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import kornia.filters
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.warping.fields.base import WarpingField
from lightning_modules.warping.image_gradients import ImageGradient, Sobel


class ImageLoss(nn.Module, ABC):
    """An image term: how much a warped photo differs from the stylised face it was warped onto."""

    def forward(self, warped: Tensor, stylised: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each face.

        Args:
            warped: photos in the shape of the stylised faces, RGB in [0, 1], shape ``(B, 3, S, S)``.
            stylised: the stylised faces, RGB in [0, 1], shape ``(B, 3, S, S)``.
            mask: weight of each pixel, ≥ 0, shape ``(B, 1, S, S)``; equal if None. Where a face's mask is all zero, the
                gradient of its loss is zero.

        Returns:
            Shape ``(B,)``.

        Raises:
            ValueError: the shapes differ.
        """
        if warped.shape != stylised.shape:
            raise ValueError(
                f"warped is {tuple(warped.shape)} but stylised {tuple(stylised.shape)}; give equal shapes."
            )
        if mask is None:
            mask = torch.ones_like(warped[:, :1])
        if mask.shape != warped[:, :1].shape:
            raise ValueError(f"mask is {tuple(mask.shape)}; expected {tuple(warped[:, :1].shape)}.")
        dtype = torch.promote_types(warped.dtype, torch.float32)
        with torch.autocast(warped.device.type, enabled=False):
            return self.compare(warped.to(dtype), stylised.to(dtype), mask.to(dtype))

    @abstractmethod
    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """The loss of each face, shape ``(B,)``, from checked inputs."""


class GradientMSE(ImageLoss):
    """Mean squared difference of image gradients: the image term of eq. 3.

    Args:
        gradient: the gradient operator; ``Sobel()`` if None. Whether it sees grey or colour is its own option.
    """

    def __init__(self, gradient: ImageGradient | None = None) -> None:
        super().__init__()
        self.gradient = gradient or Sobel()

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """Mean over channels and pixels."""
        return masked_mean((self.gradient(warped) - self.gradient(stylised)).square(), mask)


class PixelMSE(ImageLoss):
    """Mean squared difference of colours."""

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """Mean over channels and pixels."""
        return masked_mean((warped - stylised).square(), mask)


class GradientNCC(ImageLoss):
    """One minus the zero-mean normalised cross-correlation of image gradients, which does not depend on contrast.

    Args:
        gradient: the gradient operator; ``Sobel()`` if None.
        blur_sigma: standard deviation, in pixels, of a Gaussian blur of the gradient images, which gives edges further
            apart a gradient towards each other; 0 for none.

    Raises:
        ValueError: ``blur_sigma`` is negative.
    """

    def __init__(self, gradient: ImageGradient | None = None, blur_sigma: float = 0.0) -> None:
        super().__init__()
        if blur_sigma < 0:
            raise ValueError(f"blur_sigma is {blur_sigma}; expected at least 0.")
        self.gradient, self.blur_sigma = gradient or Sobel(), blur_sigma

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """Between 0 (one gradient image is a positive multiple of the other, up to a constant) and 2."""
        a, b = self._blur(self.gradient(warped)), self._blur(self.gradient(stylised))
        return 1.0 - _correlation(a, b, mask)

    def _blur(self, image: Tensor) -> Tensor:
        if self.blur_sigma == 0:
            return image
        side = 2 * int(3 * self.blur_sigma + 0.5) + 1
        sigma = (self.blur_sigma, self.blur_sigma)
        blurred: Tensor = kornia.filters.gaussian_blur2d(image, (side, side), sigma, border_type="replicate")
        return blurred


class MultiScale(ImageLoss):
    """Any image loss, averaged over a pyramid: at coarse levels, edges further apart still overlap.

    Each level averages 2×2 pixels of the one before, of the images and of the mask. An odd side loses its last row and
    column.

    Args:
        loss: the loss of one level; squared difference of Sobel gradients if None.
        levels: number of levels; 1 is the loss itself.
        weights: of each level, from fine to coarse, normalised to sum to 1; equal if None.

    Raises:
        ValueError: there is no level, or not one weight ≥ 0 for each, or all are 0.
    """

    SMALLEST = 4
    """Least side of the coarsest level, in pixels: on less, most of a 3×3 kernel's output is affected by the border."""

    def __init__(self, loss: ImageLoss | None = None, levels: int = 3, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels is {levels}; expected at least 1.")
        weights = [1.0] * levels if weights is None else list(weights)
        if len(weights) != levels or min(weights) < 0 or not 0 < sum(weights) < math.inf:
            raise ValueError(f"weights are {weights}; expected {levels}, none negative and one above 0.")
        self.loss = loss or GradientMSE()
        self.weights = [weight / sum(weights) for weight in weights]

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """The weighted mean of all levels' losses.

        Raises:
            ValueError: the images are too small for that many levels.
        """
        levels, side = len(self.weights), min(warped.shape[-2:])
        if side >> (levels - 1) < self.SMALLEST:
            raise ValueError(
                f"images of {side} pixels are too small for {levels} levels; expected at least "
                f"{self.SMALLEST << (levels - 1)} pixels. Use fewer levels."
            )
        total: Tensor = self.weights[0] * self.loss(warped, stylised, mask)
        for weight in self.weights[1:]:
            warped, stylised, mask = (F.avg_pool2d(image, 2) for image in (warped, stylised, mask))
            total = total + weight * self.loss(warped, stylised, mask)
        return total


class NoImageLoss(ImageLoss):
    """Zero, for an objective without an image term."""

    def compare(self, warped: Tensor, stylised: Tensor, mask: Tensor) -> Tensor:
        """Zeros that depend on ``warped``, so that a backward pass has a graph to follow."""
        return (warped * 0.0).sum(dim=(1, 2, 3))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over channels and pixels, weighted by a mask.

    Args:
        values: shape ``(B, C, S, S)``.
        mask: weights ≥ 0, shape ``(B, 1, S, S)``.

    Returns:
        Shape ``(B,)``; 0 where a mask is all zero.
    """
    total = mask.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return (values.mean(dim=1, keepdim=True) * mask).sum(dim=(1, 2, 3)) / total


def _correlation(a: Tensor, b: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero-mean normalised correlation, shape ``(B,)``; 0 where either is constant within the mask."""
    a = a - masked_mean(a, mask)[:, None, None, None]
    b = b - masked_mean(b, mask)[:, None, None, None]
    spread = (masked_mean(a * a, mask) + eps) * (masked_mean(b * b, mask) + eps)
    return masked_mean(a * b, mask) / spread.sqrt()


def landmark_warping_error(field: WarpingField, predicted: Tensor, photo: Tensor) -> Tensor:
    """How far from the photo's landmarks w_γ takes the predicted ones: the third term of eq. 3.

    Zero, up to rounding, for a field that fits the landmarks, as an interpolating spline (λ = 0) does.

    Args:
        field: of the B pairs.
        predicted: landmarks on the stylised face, crop coordinates, shape ``(B, K, 2)``.
        photo: the photo's landmarks, crop coordinates, shape ``(B, K, 2)``.

    Returns:
        Mean squared distance per face, in squared crop coordinates, shape ``(B,)``.
    """
    return (field.evaluate(predicted) - photo).square().sum(dim=-1).mean(dim=-1)
