"""OpenPose's face network: a convolutional pose machine of six stages over the first layers of VGG-19.

Simon, Joo, Matthews, Sheikh: "Hand Keypoint Detection in Single Images using Multiview Bootstrapping", CVPR 2017, whose
architecture the face network shares; Cao, Hidalgo, Simon, Wei, Sheikh: "OpenPose", TPAMI 2019.
"""

from collections.abc import Iterator
from itertools import product

import torch

from lightning_modules.backbones.base import Backbone, Pretrained
from lightning_modules.backbones.pyramid import build_backbone
from lightning_modules.backbones.vgg import VGGTrunk
from lightning_modules.landmarkers.pose_machines.pose_machine import PoseMachine
from lightning_modules.weights import Published, StateDict, start_from

OUTPUTS = 71
"""iBUG's 68 landmarks, the two pupils, and the background."""

VGG19_BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512))
"""VGG-19 up to conv4_4, where Simon et al. cut it."""


class OpenPose(PoseMachine):
    """OpenPose's face network; its defaults are the published one (38.4 million parameters).

    The published weights were trained with BGR images over 256 less 0.5; reading them turns their first layer to RGB
    and keeps the normalisation, so that crops go in as for every landmarker here. They were trained on looser crops
    than 1.2 × the landmarks' box. The pupils are found and not returned.

    Args:
        image_size: side of the crops, in pixels: a multiple of 8 (of 32 with a timm backbone). 368 is published.
        backbone: ``vgg19`` for the published one, or any timm CNN with ``features_only``, whose map has stride 4.
        pretrained: ImageNet weights to start the backbone from: true for timm's (from its hub), ``package`` for those
            of an installed Python package, false for none. Not used where ``weights`` is given.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published network's as PyTorch ports name it (``facenet.pth``).
        num_stages: stages of heatmaps.
        features: channels of the feature map that all stages see.
        width: channels within the stages after the first.
        first_width: channels within the first stage.
        kernel: side of the convolutions in the stages after the first.
        batch_norm: normalise within the stages, which makes training from scratch much shorter; not published.
        sigma: standard deviation of the target Gaussians, in cells; 7 pixels of stride 8 are published.
        radius: cells around the highest one whose centre of mass is the landmark.
        power: of the heatmaps, to take the centre of mass with.
        landmark_weight: of the landmarks' own error in the loss, beside the heatmaps'; 0 is published.
        channels_last: run in that memory format, which is quicker for most backbones on CPUs and tensor cores.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 368,
        backbone: str = "vgg19",
        pretrained: Pretrained = False,
        weights: str | None = None,
        num_stages: int = 6,
        features: int = 128,
        width: int = 128,
        first_width: int = 512,
        kernel: int = 7,
        batch_norm: bool = False,
        sigma: float = 0.875,
        radius: float = 3.0,
        power: float = 2.0,
        landmark_weight: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        trunk = build_backbone(backbone, features, False if weights else pretrained, {"vgg19": _published})
        stages = [[(first_width, 1)], *[[(width, kernel)] * 5 + [(width, 1)]] * (num_stages - 1)]
        reading = (sigma, radius, power, landmark_weight, channels_last)
        super().__init__(image_size, trunk, stages, OUTPUTS, batch_norm, *reading)
        if weights:
            start_from(self, weights, PUBLISHED_OPENPOSE)


def _published(features: int, pretrained: Pretrained) -> Backbone:
    return VGGTrunk("vgg19", VGG19_BLOCKS, (512, 512, features), pretrained)


class _PublishedOpenPose(Published):
    """Also turns the first layer from BGR to RGB, and adds the normalisation the weights were trained with."""

    def translate(self, state: StateDict) -> StateDict:
        ours = super().translate(state)
        ours["backbone.vgg.0.weight"] = ours["backbone.vgg.0.weight"].flip(1)
        # x · 255 / 256 - 0.5, as mean and standard deviation of values in [0, 1].
        ours["image_mean"] = torch.full((3, 1, 1), 0.5 * 256 / 255)
        ours["image_std"] = torch.full((3, 1, 1), 256 / 255)
        return ours


def _published_layers() -> Iterator[tuple[str, str]]:
    """Each layer's published name and ours."""
    place = 0
    for block, widths in enumerate(VGG19_BLOCKS, 1):
        for k in range(1, len(widths) + 1):
            yield f"conv{block}_{k}", f"backbone.vgg.{place}"
            place += 2  # a ReLU follows
        place += 1  # pooling follows
    yield from (("conv5_1", "backbone.neck.0"), ("conv5_2", "backbone.neck.2"), ("conv5_3_CPM", "backbone.neck.4"))
    yield from (("conv6_1_CPM", "stages.0.0"), ("conv6_2_CPM", "stages.0.2"))
    for stage, k in product(range(2, 7), range(1, 8)):
        yield f"Mconv{k}_stage{stage}", f"stages.{stage - 1}.{2 * (k - 1)}"


PUBLISHED_OPENPOSE = _PublishedOpenPose(
    name="OpenPose face network",
    marker="conv5_3_CPM.weight",
    renamed=tuple((rf"^{theirs}\.", f"{ours}.") for theirs, ours in _published_layers()),
)
