"""SBR: a convolutional pose machine that also learns from unlabelled video, by registering its frames.

Dong, Yu, Weng, Wei, Yang, Sheikh: "Supervision-by-Registration: An Unsupervised Approach to Improve the Precision of
Facial Landmark Detectors", CVPR 2018.
"""

import re

import torch
from torch import Tensor

from lightning_modules.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Pretrained
from lightning_modules.backbones.pyramid import build_backbone
from lightning_modules.backbones.vgg import VGGTrunk
from lightning_modules.landmarkers.base import LandmarkerOutput
from lightning_modules.landmarkers.pose_machines.optical_flow import registration_error
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachine
from lightning_modules.weights import Published, StateDict, start_from

OUTPUTS = 69
"""The 68 landmarks and the background."""

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
"""The first four blocks of VGG-16."""


class SBR(PoseMachine):
    """SBR's detector and its registration loss; its defaults are the published ones (16.7 million parameters).

    Args:
        image_size: side of the crops, in pixels: a multiple of 8 (of 32 with a timm backbone).
        backbone: ``vgg16`` for the published one, or any timm CNN with ``features_only``, whose map has stride 4.
        pretrained: ImageNet weights to start the backbone from: true for timm's (from its hub), ``package`` for those
            of an installed Python package, false for none. Not used where ``weights`` is given.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published program's, of the detector or of the whole.
        num_stages: stages of heatmaps.
        features: channels of the feature map that all stages see.
        width: channels within the stages.
        first_width: channels before the first stage's heatmaps.
        kernel: side of the large convolutions in the stages after the first.
        batch_norm: normalise within the stages, which makes training from scratch much shorter; not published.
        sigma: standard deviation of the target Gaussians, in cells; 4 pixels of stride 8 are published.
        radius: cells around the highest one whose centre of mass is the landmark.
        power: of the heatmaps, to take the centre of mass with.
        landmark_weight: of the landmarks' own error in the loss, beside the heatmaps'; 0 is published.
        registration_weight: of the registration loss, where frames are given.
        window: pixels to each side of a landmark that are tracked from frame to frame.
        iterations: steps of the tracking.
        channels_last: run in that memory format, which is quicker for most backbones on CPUs and tensor cores.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 256,
        backbone: str = "vgg16",
        pretrained: Pretrained = False,
        weights: str | None = None,
        num_stages: int = 3,
        features: int = 128,
        width: int = 128,
        first_width: int = 512,
        kernel: int = 7,
        batch_norm: bool = False,
        sigma: float = 0.5,
        radius: float = 4.0,
        power: float = 1.0,
        landmark_weight: float = 0.0,
        registration_weight: float = 1.0,
        window: int = 10,
        iterations: int = 20,
        channels_last: bool = False,
    ) -> None:
        trunk = build_backbone(backbone, features, False if weights else pretrained, {"vgg16": _published})
        first = [(width, 3)] * 4 + [(first_width, 1)]
        stages = [first, *[[(width, kernel)] * 3 + [(width, 3)] * 4 + [(width, 1)]] * (num_stages - 1)]
        reading = (sigma, radius, power, landmark_weight, channels_last)
        super().__init__(image_size, trunk, stages, OUTPUTS, batch_norm, *reading)
        self.registration_weight, self.window, self.iterations = registration_weight, window, iterations
        if weights:
            start_from(self, weights, PUBLISHED_SBR)

    def loss(
        self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """The heatmaps' squared error, and where frames of video are given, the registration loss as well.

        Args:
            output, target, weight: see :meth:`Landmarker.loss`.
            frames: unlabelled video, see :meth:`registration_loss`.
        """
        loss = super().loss(output, target, weight)
        if frames is not None:
            loss = loss + self.registration_weight * self.registration_loss(frames)
        return loss

    def registration_loss(self, frames: Tensor) -> Tensor:
        """How far each frame's landmarks are from where the optical flow takes those of the frame before.

        The gradient reaches both frames' detections, the earlier ones' through the flow.

        Args:
            frames: consecutive crops of a video, cut by one box, RGB in [0, 1], shape ``(B, T, 3, S, S)``, T ≥ 2.

        Returns:
            Mean distance in crop coordinates over the landmarks whose flow is consistent, a scalar; 0 for none.

        Raises:
            ValueError: there are fewer than two frames.
        """
        output = self(frames.flatten(0, 1))
        assert output.heatmaps is not None, "a pose machine has them"
        landmarks = output.landmarks.reshape(*frames.shape[:2], -1, 2)
        confidence = output.heatmaps.float().amax((-1, -2)).reshape(*frames.shape[:2], -1)
        return registration_error(frames, landmarks, confidence, self.window, self.iterations)


def _published(features: int, pretrained: Pretrained) -> Backbone:
    return VGGTrunk("vgg16", VGG16_BLOCKS, (256, features), pretrained)


class _PublishedSBR(Published):
    """The published detector, by itself or within the program that tracks."""

    def holds(self, state: StateDict) -> bool:
        return self.marker in state or f"detector.{self.marker}" in state

    def translate(self, state: StateDict) -> StateDict:
        ours = super().translate(state)
        for name, weight in ours.items():
            if re.fullmatch(r"stages\.[1-9]\d*\.0\.weight", name):
                # Published stages see the features before the heatmaps, ours after them.
                ours[name] = weight.roll(OUTPUTS, 1)
        # Images are normalised in the published program's data loading, as ImageNet's are.
        normalisation = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
        return ours | {name: torch.tensor(value).view(3, 1, 1) for name, value in normalisation.items()}


PUBLISHED_SBR = _PublishedSBR(
    name="SBR",
    marker="CPM_feature.0.weight",
    renamed=((r"^detector\.", ""), (r"^features\.", "backbone.vgg."), (r"^CPM_feature\.", "backbone.neck.")),
)
