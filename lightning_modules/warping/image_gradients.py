"""Image gradient operators for the warping losses, all of them kornia's.

A photo and a stylised face differ in colour but share edges: eq. 3 of the paper compares their gradients. All operators
have a finite derivative everywhere, also on flat colour; all but :class:`Canny` are smooth functions of the image.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Literal

import kornia.color
import kornia.filters
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.devices import constant


class ImageGradient(nn.Module, ABC):
    """A gradient operator on RGB or grey images.

    Args:
        grey: convert RGB images to grey first; otherwise the operator applies to each channel.
    """

    def __init__(self, grey: bool = True) -> None:
        super().__init__()
        self.grey = grey

    def forward(self, image: Tensor) -> Tensor:
        """The gradient image, per pixel (not per crop), in float32 or better with autocast off.

        Args:
            image: values in [0, 1], shape ``(B, C, S, S)``, C = 3 or 1.

        Returns:
            Shape ``(B, G, S, S)``; G is 1 if ``grey``, else C, times the number of derivatives the operator returns.

        Raises:
            ValueError: the image has not 1 or 3 channels.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise ValueError(f"image has shape {tuple(image.shape)}; expected (B, 3, S, S) or (B, 1, S, S).")
        with torch.autocast(image.device.type, enabled=False):
            image = image.to(torch.promote_types(image.dtype, torch.float32))
            if self.grey and image.shape[1] == 3:
                image = kornia.color.rgb_to_grayscale(image)
            return self.gradient(image)

    @abstractmethod
    def gradient(self, image: Tensor) -> Tensor:
        """The operator itself; every channel of ``image`` on its own."""


class Sobel(ImageGradient):
    """Gradient magnitude by Sobel's operator, ``sqrt(dx² + dy² + eps)``.

    Args:
        grey: see :class:`ImageGradient`.
        eps: keeps the magnitude differentiable on flat colour.
    """

    def __init__(self, grey: bool = True, eps: float = 1e-6) -> None:
        super().__init__(grey)
        self.eps = eps

    def gradient(self, image: Tensor) -> Tensor:
        """Magnitude per channel, shape ``(B, C, S, S)``."""
        along_x, along_y = first_derivatives(image).unbind(dim=2)
        return (along_x * along_x + along_y * along_y + self.eps).sqrt()


class SpatialGradient(ImageGradient):
    """First or second derivatives along x and y, or their magnitude, in units of the image's values per pixel.

    Args:
        grey: see :class:`ImageGradient`.
        mode: ``sobel`` (3×3) or ``diff`` (central differences).
        magnitude: return ``sqrt(dx² + dy² + eps)``; otherwise the vector, which tells a dark-to-light edge from a
            light-to-dark one. Of second derivatives, ``sqrt(dxx² + 2 dxy² + dyy² + eps)``, the Frobenius norm of the
            Hessian, which is invariant to rotation.
        eps: keeps the magnitude differentiable on flat colour.
        order: 1 for first derivatives; 2 for second ones, which peak on lines instead of edges.

    Raises:
        ValueError: ``order`` is neither 1 nor 2.
    """

    def __init__(
        self,
        grey: bool = True,
        mode: Literal["sobel", "diff"] = "sobel",
        magnitude: bool = True,
        eps: float = 1e-6,
        order: Literal[1, 2] = 1,
    ) -> None:
        super().__init__(grey)
        if order not in (1, 2):
            raise ValueError(f"order is {order}; expected 1 or 2.")
        self.mode, self.magnitude, self.eps, self.order = mode, magnitude, eps, order

    def gradient(self, image: Tensor) -> Tensor:
        """Magnitude, shape ``(B, C, S, S)``, or all channels' derivatives.

        These are (dx, dy), shape ``(B, 2C, S, S)``, or (dxx, dxy, dyy), shape ``(B, 3C, S, S)``.
        """
        vector = self._derivatives(image)
        times = [1.0, 1.0]
        if self.order == 2:
            # Not kornia's own second order: its sign and scale differ between 0.8 and 0.9.
            along_x, along_y = (self._derivatives(first) for first in vector.unbind(dim=2))
            vector = torch.cat([along_x, along_y[:, :, 1:]], dim=2)
            times = [1.0, 2.0, 1.0]
        if self.magnitude:
            squares = vector.square() * constant(tuple(times), vector.device, vector.dtype)[:, None, None]
            return (squares.sum(dim=2) + self.eps).sqrt()
        return vector.flatten(1, 2)

    def _derivatives(self, image: Tensor) -> Tensor:
        return first_derivatives(image, self.mode)


def first_derivatives(image: Tensor, mode: str = "sobel") -> Tensor:
    """``kornia.filters.spatial_gradient``, whose kernel is copied to the device at every call; here it is kept.

    Args:
        image: shape ``(B, C, S, S)``.
        mode: ``sobel`` or ``diff``.

    Returns:
        Along x and y, shape ``(B, C, 2, S, S)``.
    """
    kernel = _derivative_kernel(mode, image.device, image.dtype)
    padded = F.pad(image.flatten(0, 1).unsqueeze(1), [1] * 4, mode="replicate")
    derivatives: Tensor = F.conv2d(padded, kernel).view(*image.shape[:2], 2, *image.shape[2:])
    return derivatives


@lru_cache
def _derivative_kernel(mode: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        kernel: Tensor = kornia.filters.get_spatial_gradient_kernel2d(mode, 1, dtype=dtype)
        return (kernel / kernel.abs().sum((1, 2), keepdim=True))[:, None].to(device)


class Laplacian(ImageGradient):
    """The Laplacian, signed: the sum of second derivatives, scaled so that the kernel's absolute sum is 1.

    Args:
        grey: see :class:`ImageGradient`.
        kernel_size: side of the kernel in pixels, odd.

    Raises:
        ValueError: ``kernel_size`` is even or below 3.
    """

    def __init__(self, grey: bool = True, kernel_size: int = 3) -> None:
        super().__init__(grey)
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; expected an odd number from 3.")
        self.kernel_size = kernel_size

    def gradient(self, image: Tensor) -> Tensor:
        """Laplacian per channel, shape ``(B, C, S, S)``; at 3×3, 3/16 of the sum of second derivatives."""
        laplacian: Tensor = kornia.filters.laplacian(image, self.kernel_size)
        return laplacian


class Canny(ImageGradient):
    """Gradient magnitude on Canny's edges, 0 elsewhere; differentiated through the magnitude, not the edge map.

    The edge map is a step function of the image: edge pixels appear or vanish where a neighbour becomes steeper or a
    threshold is crossed, and a loss on it jumps there. Between jumps its derivative only changes the strength of the
    present edges; it does not know that an edge could move to the next pixel. Included for comparison.

    Args:
        grey: see :class:`ImageGradient`.
        low_threshold: a pixel above this is an edge if it is connected to one above ``high_threshold``. In units of
            Sobel's unnormalised magnitude, eight times the slope per pixel, after a Gaussian blur of 1 pixel.
        high_threshold: a pixel above this is an edge.

    Raises:
        ValueError: not 0 < ``low_threshold`` ≤ ``high_threshold``.
    """

    def __init__(self, grey: bool = True, low_threshold: float = 0.1, high_threshold: float = 0.2) -> None:
        super().__init__(grey)
        if not 0 < low_threshold <= high_threshold:
            raise ValueError(f"thresholds are {low_threshold} and {high_threshold}; expected 0 < low ≤ high.")
        self.low_threshold, self.high_threshold = low_threshold, high_threshold

    def gradient(self, image: Tensor) -> Tensor:
        """Edge magnitude per channel, shape ``(B, C, S, S)``."""
        # Kornia would turn three channels to grey: each goes in as an image of its own.
        channels = image.flatten(0, 1).unsqueeze(1)
        magnitude, edges = kornia.filters.canny(channels, self.low_threshold, self.high_threshold)
        on_edges: Tensor = (magnitude * edges.detach()).view_as(image)
        return on_edges
