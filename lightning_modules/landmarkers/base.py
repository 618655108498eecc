"""The interface of every landmarker: crops in, the landmarks of all its stages out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datamodules.transforms import CROP_FACTOR


@dataclass
class LandmarkerOutput:
    """A landmarker's estimates for a batch of B crops, by its S stages.

    Attributes:
        stages: each stage's landmarks in crop coordinates (``p = x_px / size``), shape ``(B, S, 68, 2)``; the last
            stage is the estimate.
        intermediate: estimates within the stages where the training loss needs them, e.g. one per decoder layer,
            shape ``(B, S, L, 68, 2)``, or None.
        heatmaps: shape ``(B, 68, h, w)``, or None for a landmarker without.
        uncertainty: standard deviation of each landmark in crop coordinates, shape ``(B, 68)``, or None.
        features: the shared feature map of the same pass, as :meth:`Landmarker.features` gives it, or None.
    """

    stages: Tensor
    intermediate: Tensor | None = None
    heatmaps: Tensor | None = None
    uncertainty: Tensor | None = None
    features: Tensor | None = None

    @property
    def landmarks(self) -> Tensor:
        """The last stage's landmarks, crop coordinates, shape ``(B, 68, 2)``."""
        return self.stages[:, -1]


class Landmarker(nn.Module, ABC):
    """f_θ: square crops to 68 landmarks, in plain torch.

    Subclasses take crops as they come from the data (RGB in [0, 1], shape ``(B, 3, S, S)``) and normalise them
    themselves.
    """

    image_size: int
    """Side of the crops it is made for, in pixels."""

    crop_factor: float = CROP_FACTOR
    """Side of the crops that evaluation gives it, over the longer side of the face's box; training's have 1.2."""

    @abstractmethod
    def forward(self, images: Tensor) -> LandmarkerOutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``)."""

    def features(self, images: Tensor) -> Tensor:
        """The shared feature map of ``images``, from which the landmarks are read; adversarial methods attach to it.

        Only those methods need it: a landmarker of your own can do without.

        Args:
            images: RGB in [0, 1], shape ``(B, 3, S, S)``.

        Returns:
            Shape ``(B, C, h, w)``; its gradient reaches the backbone.

        Raises:
            NotImplementedError: this landmarker has no shared feature map.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no features(images); this method needs the landmarker's shared feature map, "
            "shape (B, C, h, w). Write one, or choose another METHOD or LANDMARKER."
        )

    @abstractmethod
    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The landmarker's own training loss, a float32 scalar also under autocast.

        Args:
            output: what :meth:`forward` returned.
            target: crop coordinates, shape ``(B, 68, 2)``.
            weight: how much each face counts, shape ``(B,)``; 1 each if None. All zero gives 0.
        """

    def blank_crop(self) -> Tensor:
        """A black crop on its device, shape ``(1, 3, S, S)``, to find the shapes of its outputs with."""
        return next(self.parameters()).new_zeros(1, 3, self.image_size, self.image_size)

    def fit_shapes(self, shapes: Tensor) -> None:
        """Derive from the training shapes what the architecture needs, e.g. a mean face, before training starts.

        Args:
            shapes: crop coordinates of labelled training faces under the plain crop, shape ``(N, 68, 2)``.
        """


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode; afterwards, also after an error, each of its modules is in its former mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Within it, autocast on the device of ``like`` and TF32 are off: matrix products keep their inputs' precision.

    For everything that computes with coordinates: bfloat16 has 8 bits of precision, so that it rounds coordinates in
    [0, 1] to 1/512 of the crop, half a pixel at 256 pixels and 0.25 % NME; TF32, which
    ``float32_matmul_precision: high`` allows, has 11.
    """
    kind, allowed = like.device.type, torch.get_float32_matmul_precision()
    if allowed != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            yield
    finally:
        if allowed != "highest":
            torch.set_float32_matmul_precision(allowed)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without reaching its parameters; afterwards those learn that did before."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
