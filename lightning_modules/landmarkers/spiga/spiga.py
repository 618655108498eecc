"""SPIGA: a 3D face under the predicted head pose, refined in steps by graph attention over the landmarks.

Prados-Torreblanca, Buenaposada, Baumela: "Shape Preserving Facial Landmarks with Graph Attention Networks", BMVC 2022.
"""

import logging
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.backbones.base import Pretrained
from lightning_modules.devices import constant
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput, full_precision
from lightning_modules.landmarkers.losses import weighted_mean
from lightning_modules.landmarkers.patches import sample_windows
from lightning_modules.landmarkers.reference_shape import check_shapes, read_face
from lightning_modules.landmarkers.spiga.backbone import CORE, MultitaskBackbone, PyramidMultitask
from lightning_modules.landmarkers.spiga.face_3d import MEAN_FACE_3D, read_face_3d, structure_from_motion
from lightning_modules.landmarkers.spiga.graph_attention import StepRegressor, perceptron, relative_positions
from lightning_modules.landmarkers.spiga.head_pose import fit_pose, project
from lightning_modules.weights import Published, start_from

log = logging.getLogger(__name__)

HOURGLASSES: Final = "hourglasses"
"""The published backbone."""
STRIDE = 4
"""Pixels of the crop to a cell of the feature map."""
LINEAR_FROM = 1 / 64
"""Error from which smooth L1 is linear, in crop coordinates: a cell of the published map."""
POSE_LINEAR_FROM = 0.1
"""The same for poses, in radians and in units of the 3D face."""


def _unused(name: str, value: Tensor) -> bool:
    """Constants, and convolutions on shortcuts between as many channels, which are never applied."""
    constant = name.startswith(("visual_cnn.pre.0.", "visual_cnn.E2Ptransform.", "theta_S.", "diagonal_mask"))
    return constant or (".skip_layer." in name and value.shape[0] == value.shape[1])


PUBLISHED_SPIGA = Published(
    name="SPIGA",
    marker="visual_cnn.E2Ptransform.edge2point",
    renamed=(
        (r"^visual_cnn\.pre\.", "backbone.stem."),
        (r"^visual_cnn\.hgs\.", "backbone.hourglasses."),
        (r"^visual_cnn\.hgs_out\.", "backbone.outs."),
        (r"^visual_cnn\.hgs_core\.", "backbone.cores."),
        (r"^visual_cnn\.outs_(points|edges)\.(\d+)\.0\.conv\.", r"backbone.\1.\2."),
        (r"^visual_cnn\.outs_features\.(\d+)\.conv\.", r"backbone.maps.\1."),
        (r"^visual_cnn\.merge_preds\.(\d+)\.conv\.", r"backbone.merge_maps.\1."),
        (r"^visual_cnn\.merge_features\.(\d+)\.conv\.", r"backbone.merge_features.\1."),
        (r"\.(conv[123])\.conv\.", r".\1."),
        (r"\.skip_layer\.conv\.", ".skip."),
        (r"^pose_fc\.", "pose_head."),
        (r"^shape_encoder\.(\d+)\.encoder\.", r"position_encoders.\1."),
        (r"^conv_window\.", "window_embeddings."),
        (r"^gcn\.(\d+)\.gat\.", r"regressors.\1.layers."),
        (r"^gcn\.(\d+)\.decoder\.decoder\.", r"regressors.\1.decoder."),
        (r"\.attention\.attn\.proj\.", ".project."),
        (r"\.attention\.attn\.merge\.", ".merge."),
        (r"\.attention\.mlp\.", ".message."),
        (r"\.reshape\.0\.", ".shortcut."),
    ),
    unused=_unused,
    optional=frozenset({"face_3d"}),
)


@dataclass
class SPIGAOutput(LandmarkerOutput):
    """Also the head's pose.

    Attributes:
        poses: each hourglass's, shape ``(B, stacks, 6)``, see
            :mod:`~lightning_modules.landmarkers.spiga.head_pose`; the last places the first landmarks.
        initial: the 3D face under the last pose, crop coordinates, shape ``(B, 68, 2)``.
    """

    poses: Tensor | None = None
    initial: Tensor | None = None


class SPIGA(Landmarker):
    """SPIGA's network; its defaults are the published one (59.0 million parameters; 63.2 million, the paper's
    60.3 · 2^20, with those that the published program creates and never applies).

    Hourglasses find a feature map and the head's pose. A mean 3D face under that pose gives the first landmarks. Each
    step then embeds a window of the feature map around each landmark and where the others lie, relates the landmarks by
    graph attention and moves them, at most by half a window. Gradients flow through the pose and through where windows
    lie, as in the published program.

    The published weights go with crops of 1.6 × the face's box and with the published 3D face; give its file as
    ``face_3d``, since poses are in its units.

    Another backbone in the hourglasses' place starts from ImageNet's weights: of 2,012 photos, hourglasses do not learn
    to see poses in 40 epochs (docs/results/loose-boxes.md).

    Args:
        image_size: side of the crops, in pixels: 64, 128, 256 (published), 512, ...
        backbone: ``hourglasses`` for the published ones, or any timm CNN with ``features_only``.
        pretrained: ImageNet weights to start another backbone from: true for timm's (from its hub), ``package`` for
            those of an installed Python package, false for none. Not used where ``weights`` is given.
        channels: of the feature map, a multiple of 8.
        stacks: hourglasses one after the other; another backbone has none.
        steps: steps of refinement.
        embed_dim: width of the embedded landmarks, a multiple of 4.
        graph_dim: width of the graph attention, a multiple of 8.
        graph_layers: graph attention layers of a step.
        window: side of the first step's windows, as a share of the map's; it halves from step to step.
        window_points: points sampled along each side of a window.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published state dict of a 68-point model.
        face_3d: file with the 3D face: ``.npy`` of shape ``(68, 3)``, or the published text file. Built in if None.
            :meth:`fit_shapes` and a 3D face in ``weights`` replace it.
        pose_weight: of the poses' error in the loss; the target is the pose fitted to the labelled landmarks.
        channels_last: run another backbone in that memory format, which is quicker for most on CPUs and tensor cores.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` or ``face_3d`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 256,
        backbone: str = HOURGLASSES,
        pretrained: Pretrained = False,
        channels: int = 256,
        stacks: int = 4,
        steps: int = 3,
        embed_dim: int = 512,
        graph_dim: int = 256,
        graph_layers: int = 4,
        window: float = 0.25,
        window_points: int = 7,
        weights: str | None = None,
        face_3d: str | None = None,
        pose_weight: float = 0.1,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        levels = (image_size // (STRIDE * CORE)).bit_length() - 1
        if levels < 1 or image_size != STRIDE * CORE * 2**levels:
            raise ValueError(f"image_size is {image_size}; expected 32, 64, 128, 256, ... (16 times a power of 2).")
        if channels % 8 or embed_dim % 4 or graph_dim % 8:
            raise ValueError(
                f"channels={channels}, embed_dim={embed_dim}, graph_dim={graph_dim}; expected multiples of 8, 4 and 8."
            )
        self.image_size, self.pose_weight = image_size, pose_weight
        self.from_weights = weights is not None
        self.windows, self.window_points = [window / 2**step for step in range(steps)], window_points
        self.backbone: nn.Module = (
            MultitaskBackbone(levels, channels, stacks)
            if backbone == HOURGLASSES
            else PyramidMultitask(backbone, levels, channels, False if weights else pretrained, channels_last)
        )
        self.pose_head = nn.Linear(channels, 6)
        positions = [2 * (NUM_LANDMARKS - 1), embed_dim // 2, embed_dim // 2, embed_dim]
        self.position_encoders = nn.ModuleList(perceptron(positions) for _ in range(steps))
        self.window_embeddings = nn.ModuleList(nn.Conv2d(channels, embed_dim, window_points) for _ in range(steps))
        self.regressors = nn.ModuleList(StepRegressor(embed_dim, graph_dim, graph_layers) for _ in range(steps))
        self.face_3d: Tensor
        self.register_buffer("face_3d", read_face(face_3d, read_face_3d, 3) if face_3d else torch.tensor(MEAN_FACE_3D))
        self._reset_pose(project(torch.tensor(MEAN_FACE_3D), torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 2.9]]))[0])
        if weights:
            start_from(self, weights, PUBLISHED_SPIGA)

    def _reset_pose(self, shape: Tensor) -> None:
        """Begin at the pose of a mean shape (crop coordinates, ``(68, 2)``), whatever the image."""
        nn.init.normal_(self.pose_head.weight, std=0.01)
        with torch.no_grad():
            self.pose_head.bias.copy_(fit_pose(self.face_3d, shape[None])[0])

    def features(self, images: Tensor) -> Tensor:
        """The last hourglass's map, shape ``(B, channels, S/4, S/4)``, which windows are cut from."""
        features: Tensor = self.backbone(images)[0]
        return features

    def forward(self, images: Tensor) -> SPIGAOutput:
        """Find the landmarks of ``images`` (RGB in [0, 1], shape ``(B, 3, S, S)``).

        Returns:
            ``stages`` of shape ``(B, steps, 68, 2)``, ``poses`` and the ``initial`` landmarks.
        """
        features, vectors = self.backbone(images)
        with full_precision(vectors):
            poses = self.pose_head(vectors.float())
            pose = poses[:, -1]
            if self.training:
                # Plain DDP stops at a parameter without a gradient: the poses that only the loss compares get one here.
                pose = pose + 0.0 * poses.sum(1)
            initial = landmarks = project(self.face_3d, pose)
        stages = []
        for step in range(len(self.windows)):
            displacement = self.regressors[step](self._embed(features, landmarks, step))
            landmarks = landmarks + self.windows[step] / 2 * displacement
            stages.append(landmarks)
        return SPIGAOutput(torch.stack(stages, dim=1), features=features, poses=poses, initial=initial)

    def _embed(self, features: Tensor, landmarks: Tensor, step: int) -> Tensor:
        """Embeds the features around each landmark and its position relative to the others: ``(B, embed_dim, 68)``."""
        # A window of W cells reaches from the middle of its first cell to that of its last.
        cells = features.shape[-1]
        reach = (self.windows[step] * cells - 1) / (2 * cells)
        windows = sample_windows(features, landmarks, reach, self.window_points)
        # The window convolution as a matrix product: its kernel covers the whole window.
        embedding = cast(nn.Conv2d, self.window_embeddings[step])
        seen = F.linear(windows.flatten(2), embedding.weight.flatten(1), embedding.bias)
        embedded: Tensor = seen.mT + self.position_encoders[step](relative_positions(landmarks))
        return embedded

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Smooth L1 of every step's landmarks, mean over steps, and of every hourglass's pose.

        The target pose is the one under which the 3D face comes closest to the labels (:func:`fit_pose`). For an
        exaggerated face it is approximate, which suffices for the first estimate.
        """
        assert isinstance(output, SPIGAOutput), "the output of a SPIGA"
        stages = output.stages.float()
        target = target.to(stages)
        errors = F.smooth_l1_loss(stages, target[:, None].expand_as(stages), reduction="none", beta=LINEAR_FROM)
        loss = weighted_mean(errors.sum(-1).flatten(1).mean(1), weight)
        if self.pose_weight and output.poses is not None:
            # Angles in radians: a degree of yaw moves the nose by about a hundredth of the face.
            unit = constant((torch.pi / 180,) * 3 + (1.0,) * 3, stages.device, stages.dtype)
            wanted = fit_pose(self.face_3d, target)[:, None].expand_as(output.poses)
            of_poses = F.smooth_l1_loss(output.poses * unit, wanted * unit, reduction="none", beta=POSE_LINEAR_FROM)
            loss = loss + self.pose_weight * weighted_mean(of_poses.flatten(1).mean(1), weight)
        return loss

    def fit_shapes(self, shapes: Tensor) -> None:
        """Take the 3D face from the training shapes, where they show one, and start at their mean's pose.

        A network that started from ``weights`` keeps its 3D face, in whose units its poses are, and its poses.

        Args:
            shapes: crop coordinates, shape ``(N, 68, 2)``. With too few of them, or if they do not turn as a head
                does, the 3D face stays.

        Raises:
            ValueError: ``shapes`` is empty or has another shape.
        """
        check_shapes(shapes)
        if self.from_weights:
            return
        try:
            self.face_3d.copy_(structure_from_motion(shapes))
        except ValueError as error:
            log.info("SPIGA keeps its 3D face: %s", error)
        self._reset_pose(shapes.mean(0))
