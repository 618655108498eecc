"""Generators: an image in one style to the same image in another (Johnson et al. 2016; Isola et al., CVPR 2017).

Images are RGB in [0, 1] outside, and in [-1, 1] inside, where the networks end in tanh.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """Base: subclasses give :meth:`paint`, in [-1, 1]."""

    @abstractmethod
    def paint(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, S, S)`` in [-1, 1] to images of the same shape, before tanh."""

    def forward(self, images: Tensor) -> Tensor:
        """Images in the other style; RGB in [0, 1], shape ``(B, 3, S, S)``, as given."""
        return (torch.tanh(self.paint(2 * images - 1)) + 1) / 2


class ResNetGenerator(Generator):
    """Zhu et al. 2017: 7×7 convolution, two that halve the size, residual blocks, two that double it, 7×7 again.

    Args:
        width: channels of the first convolution; the residual blocks have four times as many.
        blocks: residual blocks (the paper: 9 for 256 pixels, 6 for 128).
    """

    def __init__(self, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            *_normalised(nn.Conv2d(3, width, 7)),
            *_normalised(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
            *(_Residual(4 * width) for _ in range(blocks)),
            *_normalised(nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1)),
            *_normalised(nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
        )

    def paint(self, images: Tensor) -> Tensor:
        """See :class:`Generator`.

        Raises:
            ValueError: the size is not a multiple of 4: the image would come back larger.
        """
        if images.shape[-1] % 4 or images.shape[-2] % 4:
            raise ValueError(f"images of {tuple(images.shape[-2:])} pixels; expected sides that are multiples of 4.")
        painted: Tensor = self.layers(images)
        return painted


class _Residual(nn.Module):
    """Two 3×3 convolutions, reflected at the border, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            *_normalised(nn.Conv2d(width, width, 3)),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)  # type: ignore[no-any-return]


class UNetGenerator(Generator):
    """pix2pix's: 4×4 convolutions halve the size down to the bottom, mirrored ones double it, joined level by level.

    Args:
        image_size: side of the images in pixels, halved as long as it is even: 8 times for 256, down to 1 pixel.
        width: channels of the first level; they double up to eight times as many.

    Raises:
        ValueError: the size cannot be halved three times.
    """

    def __init__(self, image_size: int = 256, width: int = 64) -> None:
        super().__init__()
        self.image_size = image_size
        levels = (image_size & -image_size).bit_length() - 1
        if image_size <= 0 or levels < 3:
            raise ValueError(f"image_size is {image_size}; expected a multiple of 8, best a power of two (128, 256).")
        widths = [width * 2 ** min(level, 3) for level in range(levels)]
        downs, ups = [], []
        for level, wide in enumerate(widths):
            narrow = widths[level - 1] if level else 3
            down: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            down.append(nn.Conv2d(narrow, wide, 4, stride=2, padding=1))
            # The deepest level may be a single pixel, which instance normalisation would set to 0.
            if 0 < level < levels - 1:
                down.append(nn.InstanceNorm2d(wide))
            up: list[nn.Module] = [nn.ReLU()]
            up.append(nn.ConvTranspose2d(wide if level == levels - 1 else 2 * wide, narrow, 4, stride=2, padding=1))
            if level:
                up.append(nn.InstanceNorm2d(narrow))
            downs.append(nn.Sequential(*down))
            ups.append(nn.Sequential(*up))
        self.downs, self.ups = nn.ModuleList(downs), nn.ModuleList(reversed(ups))

    def paint(self, images: Tensor) -> Tensor:
        """See :class:`Generator`.

        Raises:
            ValueError: the images are not of ``image_size``.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} pixels for a U-Net made for {self.image_size}. Give it the "
                "landmarker's image_size."
            )
        features, levels = images, list[Tensor]()
        for down in self.downs:
            features = down(features)
            levels.append(features)
        features = levels.pop()
        for level, up in enumerate(self.ups):
            features = up(torch.cat([levels.pop(), features], dim=1) if level else features)
        return features


def _normalised(convolution: nn.Module) -> list[nn.Module]:
    """A convolution, instance normalisation without parameters, ReLU."""
    channels = convolution.out_channels
    return [convolution, nn.InstanceNorm2d(int(channels)), nn.ReLU()]  # type: ignore[arg-type]
