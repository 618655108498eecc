"""SLPT: landmarks from small patches around the last estimate, related by a transformer, in three stages.

Xia, Qu, Huang, Zhang, Wang, Xu: "Sparse Local Patch Transformer for Robust Face Alignment and Landmarks Inherent
Relation Learning", CVPR 2022.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_modules.backbones.base import Normalization, Pretrained
from lightning_modules.backbones.hrnet import HRNetBackbone
from lightning_modules.backbones.pyramid import build_backbone
from lightning_modules.landmarkers.backbone_landmarker import NORMALIZATION, BackboneLandmarker
from lightning_modules.landmarkers.base import LandmarkerOutput, full_precision
from lightning_modules.landmarkers.losses import interocular_loss
from lightning_modules.landmarkers.patches import patch_boxes, sample_patches
from lightning_modules.landmarkers.reference_shape import MEAN_FACE, check_shapes, read_face
from lightning_modules.landmarkers.slpt.decoder import RelationDecoder
from lightning_modules.landmarkers.slpt.linear import landmark_linear
from lightning_modules.weights import Published, start_from

PUBLISHED_SLPT = Published(
    name="SLPT",
    marker="Transformer.structure_encoding",
    renamed=(
        (r"^feature_extractor\.", "patch_embedding."),
        (r"^out_layer\.", "offset_head."),
        (r"^Transformer\.Transformer_block\.", "decoder."),
        (r"^Transformer\.", "decoder."),
        (r"^(decoder\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
        (r"^(decoder\.layers\.\d+)\.multihead_attn\.", r"\1.patch_attention."),
        (r"^backbone\.(?!head\.)", "backbone.trunk."),
    ),
    # A layer norm that the published network creates (512 parameters) and never applies.
    unused=lambda name, value: name.startswith("feature_norm."),
    # Two programs publish files of this layout, which do not say how crops are normalised: SLPT's own tests with
    # ImageNet's mean and deviation, that of conditional face warping trains and tests with 0.5 and 0.5.
    optional=frozenset({"mean_face"}) | NORMALIZATION,
)

PUBLISHED_SIZE = 256
"""Side of the crops in whose pixels the published mean face is given."""


class SLPT(BackboneLandmarker):
    """The sparse local patch transformer; its defaults are the published network (13.2 million parameters).

    It starts from a mean face and refines it stage by stage. A stage samples a square patch of the feature map around
    each landmark, embeds the patches, relates them in a decoder whose weights all stages share, and reads each
    landmark's place within its patch (Xia et al., eq. 1–10). From stage to stage patches shrink. A stage does not
    differentiate through where its patches lie, as published.

    Args:
        image_size: side of the crops, in pixels; a multiple of 32.
        backbone: ``hrnet_w18`` for the published one, or any timm CNN with ``features_only``.
        pretrained: ImageNet weights to start the backbone from: true for timm's (from its hub), ``package`` for those
            of an installed Python package, false for none. Not used where ``weights`` is given.
        weights: file to start from: a state dict of this network, a Lightning checkpoint that holds one under
            ``landmarker.``, or the published state dict.
        mean_face: file with the face to start from: ``.npy`` of shape ``(68, 2)`` in crop coordinates, or the
            published ``.npz`` (``init_face``, in pixels of a 256-pixel crop). Built in if None.
            :meth:`fit_shapes` and a mean face in ``weights`` replace it.
        embed_dim: width of the transformer.
        feature_dim: channels of the feature map the patches are cut from; ``embed_dim`` if None.
        num_layers: layers of the decoder.
        num_heads: attention heads, a divisor of ``embed_dim``.
        feedforward_dim: width of the decoder's hidden layers.
        patch_size: points sampled along each side of a patch.
        patch_sides: each stage's patch side, as a share of the crop's.
        dropout: share dropped in the decoder while training.
        stage_weights: each stage's share in the loss.
        channels_last: run the backbone in that memory format, which is quicker for most on CPUs and tensor cores.
        normalization: what crops are normalised with (``mean``, ``std``); the backbone's own if None. That which
            ``weights`` bring along replaces it.

    Raises:
        ValueError: arguments that do not go together.
        WeightsError: ``weights`` or ``mean_face`` cannot be read or does not fit; pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        image_size: int = 256,
        backbone: str = "hrnet_w18",
        pretrained: Pretrained = False,
        weights: str | None = None,
        mean_face: str | None = None,
        embed_dim: int = 256,
        feature_dim: int | None = None,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        patch_size: int = 7,
        patch_sides: Sequence[float] = (1 / 4, 1 / 8, 1 / 16),
        dropout: float = 0.1,
        stage_weights: Sequence[float] = (0.2, 0.3, 0.5),
        channels_last: bool = False,
        normalization: Normalization | None = None,
    ) -> None:
        if len(patch_sides) != len(stage_weights):
            raise ValueError(
                f"patch_sides has {len(patch_sides)} stages and stage_weights {len(stage_weights)}; give one of each "
                "per stage."
            )
        if embed_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embed_dim={embed_dim}.")
        feature_dim = feature_dim or embed_dim
        trunk = build_backbone(backbone, feature_dim, False if weights else pretrained, {"hrnet_w18": HRNetBackbone})
        super().__init__(image_size, trunk.coarsest, trunk, channels_last, normalization)
        self.patch_size, self.patch_sides, self.stage_weights = patch_size, tuple(patch_sides), tuple(stage_weights)
        self.patch_embedding = nn.Conv2d(feature_dim, embed_dim, patch_size, bias=False)
        self.decoder = RelationDecoder(embed_dim, num_layers, num_heads, feedforward_dim, dropout)
        self.offset_head = nn.Linear(embed_dim, 2)
        self._reset_heads()
        face = read_face(mean_face, _read_mean_face, 2) if mean_face else torch.tensor(MEAN_FACE)
        self.mean_face: Tensor
        self.register_buffer("mean_face", face)
        if weights:
            start_from(self, weights, PUBLISHED_SLPT)

    def _reset_heads(self) -> None:
        """Begin at the centre of each patch, so that an untrained network returns about the mean face."""
        nn.init.xavier_uniform_(self.patch_embedding.weight)
        nn.init.normal_(self.offset_head.weight, std=0.01)
        nn.init.constant_(self.offset_head.bias, 0.5)

    def from_features(self, features: Tensor) -> LandmarkerOutput:
        """The stages, from the backbone's map of shape ``(B, feature_dim, h, w)`` (S/4 a side).

        Returns:
            ``stages`` of shape ``(B, S, 68, 2)`` and ``intermediate`` of shape ``(B, S, L, 68, 2)``: the estimate of
            each of the L decoder layers in each of the S stages.
        """
        landmarks = self.mean_face.expand(features.shape[0], -1, -1)
        estimates = []
        for side in self.patch_sides:
            lower, extent = patch_boxes(landmarks.detach(), side)
            patches = sample_patches(features, lower, extent, self.patch_size)
            states = self.decoder(self._embed(patches))
            with full_precision(states):
                estimates.append(lower[:, None] + extent[:, None] * self.offset_head(states.float()))
            landmarks = estimates[-1][:, -1]
        intermediate = torch.stack(estimates, dim=1)
        return LandmarkerOutput(intermediate[:, :, -1], intermediate=intermediate, features=features)

    def _embed(self, patches: Tensor) -> Tensor:
        """The patch convolution as a matrix product: its kernel covers the whole patch, here of channels last."""
        return landmark_linear(patches.flatten(2), self.patch_embedding.weight.permute(0, 2, 3, 1).flatten(1))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Inter-ocular-normalised L2 of every layer's estimate, mean over layers, weighted over stages (eq. 11)."""
        estimates = output.stages[:, :, None] if output.intermediate is None else output.intermediate
        stages = [interocular_loss(stage, target, weight) for stage in estimates.unbind(1)]
        return sum(
            (share * stage for share, stage in zip(self.stage_weights, stages, strict=True)), start=target.new_zeros(())
        )

    def fit_shapes(self, shapes: Tensor) -> None:
        """Start from the mean of the training shapes (crop coordinates, shape ``(N, 68, 2)``); kept in the state dict.

        Raises:
            ValueError: ``shapes`` is empty or has another shape.
        """
        check_shapes(shapes)
        self.mean_face.copy_(shapes.mean(0))


def _read_mean_face(path: Path) -> npt.NDArray[np.floating]:
    """Crop coordinates from ``.npy``, or from the published ``.npz``, which is in pixels of a 256-pixel crop."""
    content = np.load(path, allow_pickle=False)
    return content["init_face"] / PUBLISHED_SIZE if isinstance(content, np.lib.npyio.NpzFile) else content
