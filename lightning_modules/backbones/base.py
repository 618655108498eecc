"""The interface of a landmarker's backbone: normalised images in, one feature map out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Pretrained = bool | Literal["package"]
"""Weights to start from: true for the library's own, downloaded on first use or from its cache; ``"package"`` for those
of an installed Python package; false for random ones."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalization:
    """What crops are normalised with before a network sees them: ``(image - mean) / std``, RGB in [0, 1].

    Raises:
        ValueError: not three numbers each, or a ``std`` that is not above 0.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean={self.mean}, std={self.std}: expected three numbers each, std above 0.")


class Normalizing(nn.Module):
    """A network that normalises its crops itself.

    Mean and standard deviation are part of the state dict, since weights are right for the one normalisation they were
    trained with.
    """

    image_mean: Tensor
    image_std: Tensor
    channels_last: bool

    def set_normalization(self, how: Normalization, channels_last: bool) -> None:
        """What :meth:`normalized` does, and whether its result is in that memory format."""
        self.channels_last = channels_last
        for name, values in (("image_mean", how.mean), ("image_std", how.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))

    def normalized(self, images: Tensor) -> Tensor:
        """Crops (RGB in [0, 1], shape ``(B, 3, S, S)``) as the network takes them."""
        images = (images - self.image_mean) / self.image_std
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


class Backbone(nn.Module):
    """Normalised images ``(B, 3, S, S)`` to features ``(B, channels, S/stride, S/stride)``.

    Attributes:
        channels: channels of the feature map.
        stride: pixels of the image to a cell of the feature map.
        coarsest: stride of its coarsest layer, of which S must be a multiple.
        mean: the RGB mean (of values in [0, 1]) its input is normalised with.
        std: the standard deviation likewise.
    """

    channels: int
    stride: int = 4
    coarsest: int = 32
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
