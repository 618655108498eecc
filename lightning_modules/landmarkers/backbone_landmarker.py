"""The base of landmarkers that read their landmarks from one backbone's feature map."""

from abc import abstractmethod
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_modules.backbones.base import Backbone, Normalization, Normalizing
from lightning_modules.backbones.timm_network import TimmFeatures
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput

NORMALIZATION: Final = frozenset({"image_mean", "image_std"})
"""The tensors of a state dict that hold it."""


class BackboneLandmarker(Landmarker, Normalizing):
    """Normalises crops for the backbone and computes its feature map; subclasses find the landmarks in it.

    Mean and standard deviation come with weights into whatever landmarker these are loaded into. A state dict without
    them, of an earlier version or of an author, leaves the landmarker its own.

    Args:
        image_size: side of the crops, in pixels.
        multiple: the largest stride of the network, of which ``image_size`` must be a multiple.
        backbone: normalised images ``(B, 3, S, S)`` to features.
        channels_last: run the backbone in that memory format, which is quicker for most on CPUs and tensor cores.
        normalization: of the crops; the backbone's own if None, which is that of its pretrained weights.

    Raises:
        ValueError: ``image_size`` is no such multiple.
    """

    backbone: Backbone | TimmFeatures

    def __init__(
        self,
        image_size: int,
        multiple: int,
        backbone: Backbone | TimmFeatures,
        channels_last: bool = False,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        if image_size % multiple:
            raise ValueError(
                f"image_size is {image_size}; expected a multiple of {multiple}, by which this network divides it."
            )
        self.image_size, self.backbone = image_size, backbone
        self.set_normalization(normalization or Normalization(backbone.mean, backbone.std), channels_last)
        self.register_load_state_dict_pre_hook(_keep_normalization)  # type: ignore[no-untyped-call]
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``); see :meth:`from_features`."""
        return self.from_features(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The feature map that landmarks are read from, of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``)."""
        return self.neck(self.backbone(self.normalized(images)))

    def neck(self, maps: Any) -> Tensor:
        """From the backbone's output to one feature map: unchanged, unless a subclass's backbone gives several maps."""
        features: Tensor = maps
        return features

    @abstractmethod
    def from_features(self, features: Tensor) -> LandmarkerOutput:
        """The landmarks from the feature map."""


def _keep_normalization(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Complete a state dict that is about to be loaded with the network's own normalisation, where it has none."""
    for name in NORMALIZATION:
        state.setdefault(prefix + name, getattr(network, name))
