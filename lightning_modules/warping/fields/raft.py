"""RAFT: a field from the pixels of both faces (Teed, Deng, ECCV 2020), torchvision's network and weights.

    from lightning_modules.warping.fields.raft import RAFT
    warped = RAFT(weights="raft_small.pth").fit(landmarks, landmarks, photo, stylised).warp(photo)

The optical flow from the stylised face to the photo is the field's displacement. It is learned on films, where a thing
keeps its colours: between a photo and a drawing it is a comparison of the paper's Figure 8, not a proposal.
"""

from collections.abc import Callable
from typing import Final, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.warping.fields.base import FieldFitter
from lightning_modules.warping.fields.dense import DenseField
from lightning_modules.weights import WeightsError, load_state, read_state

Size = Literal["small", "large"]

_STRIDE: Final = 8
_SMALLEST: Final = 128
"""Side of torchvision's smallest input: its pyramid halves an eighth of it three times."""


class RAFT(nn.Module, FieldFitter):
    """torchvision's ``raft_small`` or ``raft_large``, held fixed.

    Args:
        size: which of the two.
        weights: a file with torchvision's weights of that network, or the same state dict; comes before ``pretrained``.
        pretrained: torchvision's default weights, downloaded on first use or from torch's cache. Otherwise, without
            ``weights``, the network is random, which only tests want.
        updates: of the flow; torchvision's default is 12.

    Raises:
        ValueError: ``size`` is neither, or ``updates`` below 1.
        WeightsError: weights cannot be read, do not fit, or cannot be downloaded.
    """

    needs_images, fits_landmarks = True, False

    def __init__(
        self, size: Size = "small", weights: str | None = None, pretrained: bool = True, updates: int = 12
    ) -> None:
        super().__init__()
        from torchvision.models import optical_flow  # only here: what is alone in importing it takes its time

        builders: dict[str, tuple[Callable[..., nn.Module], object]] = {
            "small": (optical_flow.raft_small, optical_flow.Raft_Small_Weights.DEFAULT),
            "large": (optical_flow.raft_large, optical_flow.Raft_Large_Weights.DEFAULT),
        }
        if size not in builders or updates < 1:
            raise ValueError(f"size is {size!r}, updates {updates}; expected 'small' or 'large', and 1 or more.")
        build, published = builders[size]
        self.updates = updates
        from_hub = pretrained and weights is None
        try:
            self.network = build(weights=published if from_hub else None)
        except Exception as error:  # of the download, without a common base: URLError, HTTPError, OSError, RuntimeError
            if not from_hub:
                raise
            raise WeightsError(
                f"the weights of torchvision's raft_{size} cannot be downloaded: {type(error).__name__}: {error}. "
                f"Fetch {getattr(published, 'url', 'them')} where there is a network and give weights=FILE, or put it "
                f"into torch's cache, {torch.hub.get_dir()}/checkpoints."
            ) from error
        if weights is not None:
            load_state(self.network, read_state(weights), f"{weights}, given as weights of raft_{size},")
        self.requires_grad_(False).eval()

    @override
    def train(self, mode: bool = True) -> Self:
        """Never training mode: batch norm's statistics stay."""
        return super().train(False)

    @override
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> DenseField:
        """The field of each pair, from its pixels alone, without gradient; landmarks play no part.

        Crops whose side is not a multiple of 8, or below 128 pixels, are enlarged for the network.

        Raises:
            ValueError: an image is missing, or the two differ in shape.
        """
        if photo is None or stylised is None or photo.shape != stylised.shape:
            shapes = [None if image is None else tuple(image.shape) for image in (photo, stylised)]
            raise ValueError(f"RAFT needs both faces: found {shapes[0]} and {shapes[1]}; expected (B, 3, S, S) twice.")
        side = photo.shape[-1]
        enlarged = max(_SMALLEST, -(-side // _STRIDE) * _STRIDE)
        with torch.no_grad(), torch.autocast(photo.device.type, enabled=False):
            images = [2 * _resized(image.float(), enlarged) - 1 for image in (stylised, photo)]
            flow = self.network(*images, num_flow_updates=self.updates)[-1]
        # From pixels of the enlarged crop, whose outermost pixels lie where the crop's do, to crops.
        displacement = flow * ((side - 1) / ((enlarged - 1) * side))
        return DenseField(displacement.to(photo.dtype), side)


def _resized(images: Tensor, side: int) -> Tensor:
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=True)
