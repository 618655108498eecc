"""The base of landmarkers that read their landmarks from one backbone's feature map."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lightning_modules.backbones.base import Backbone
from lightning_modules.backbones.timm_network import TimmFeatures
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput


class BackboneLandmarker(Landmarker):
    """Normalises crops for the backbone and computes its feature map; subclasses find the landmarks in it.

    Args:
        image_size: side of the crops, in pixels.
        multiple: the largest stride of the network, of which ``image_size`` must be a multiple.
        backbone: normalised images ``(B, 3, S, S)`` to features.
        channels_last: run the backbone in that memory format, which is quicker for most on CPUs and tensor cores.
        keep_normalization: whether mean and standard deviation are part of the state dict, for landmarkers whose
            published weights bring their own.

    Raises:
        ValueError: ``image_size`` is no such multiple.
    """

    image_mean: Tensor
    image_std: Tensor
    backbone: Backbone | TimmFeatures

    def __init__(
        self,
        image_size: int,
        multiple: int,
        backbone: Backbone | TimmFeatures,
        channels_last: bool = False,
        keep_normalization: bool = False,
    ) -> None:
        super().__init__()
        if image_size % multiple:
            raise ValueError(
                f"image_size is {image_size}; expected a multiple of {multiple}, by which this network divides it."
            )
        self.image_size, self.channels_last = image_size, channels_last
        self.backbone = backbone
        for name, values in (("image_mean", backbone.mean), ("image_std", backbone.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=keep_normalization)
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``); see :meth:`from_features`."""
        return self.from_features(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The feature map that landmarks are read from, of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``)."""
        images = (images - self.image_mean) / self.image_std
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.neck(self.backbone(images))

    def neck(self, maps: Any) -> Tensor:
        """What the backbone returns to one feature map; it is one already, unless a subclass's has several."""
        features: Tensor = maps
        return features

    @abstractmethod
    def from_features(self, features: Tensor) -> LandmarkerOutput:
        """The landmarks from the feature map."""
