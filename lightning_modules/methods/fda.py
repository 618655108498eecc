"""Fourier domain adaptation: photos with the target's low frequencies, then the mean of several bands' landmarkers."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from lightning import Callback
from torch import Tensor, nn

from datamodules.faces import TrainBatch
from datamodules.loading import Draws
from lightning_modules.augment.amplitude import swap_amplitude
from lightning_modules.devices import constant
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.methods.adaptation import LANDMARKER, Adaptation
from lightning_modules.methods.pseudo import PseudoLandmarkStore

Phase = Literal["bands", "pseudo"]

OTHERS = 1
"""Place of the optimizer of the other bands' landmarkers."""


class FDA(Adaptation):
    """Train on photos with the low-frequency amplitudes of random target images (Yang and Soatto, CVPR 2020).

    In the first part of the run each band has a landmarker, all from the same start, which learns from photos swapped
    with its β. Their mean on the target (the paper's multi-band transfer, in evaluation mode) is then frozen as pseudo
    landmarks, and the landmarker that is tested goes on with photos' labels, swapped with a band drawn for each photo,
    and those. The paper tests the mean of its three networks too; here one landmarker is tested, as of every method.

    The paper's entropy term is left out: it sharpens a softmax over classes, which coordinates do not have. Its most
    confident 66 % of the pixels become the faces on which crop and mirror image agree best.

    A step of the first part costs as many passes as there are bands; ``bands: [0.05]`` trains one landmarker only.

    Args:
        landmarker: the network, pretrained on the source; it learns the first band.
        bands: β of each landmarker, see :func:`~lightning_modules.augment.amplitude.swap_amplitude`.
        band_share: share of the epochs that belong to the first part of the run.
        pseudo_weight: of the loss on pseudo landmarks.
        keep: share of target faces whose pseudo landmarks are trained on.
        target_boxes: once there are pseudo landmarks, crop target faces to their box.
        pseudo_recrop: how often at most a target face is cropped again while its pseudo landmarks are found.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.

    Raises:
        ValueError: there is no band, or a share or β is out of range.
    """

    bounds = ("max_epochs",)

    def __init__(
        self,
        landmarker: Landmarker,
        bands: Sequence[float] = (0.01, 0.05, 0.09),
        band_share: float = 0.5,
        pseudo_weight: float = 1.0,
        keep: float = 0.66,
        target_boxes: bool = False,
        pseudo_recrop: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, **options)
        if not bands or not all(0 <= beta <= 0.5 for beta in bands):
            raise ValueError(f"bands are {list(bands)}; expected at least one β, each in [0, 0.5].")
        if not 0 <= band_share <= 1 or not 0 < keep <= 1:
            raise ValueError(f"band_share is {band_share} and keep {keep}; expected shares in [0, 1] and (0, 1].")
        self.bands, self.band_share, self.target_boxes = tuple(bands), band_share, target_boxes
        self.pseudo = PseudoLandmarkStore(keep=keep, recrop=pseudo_recrop, finder=BandMean.of)
        self.pseudo_weight = pseudo_weight
        self.others = nn.ModuleList(deepcopy(landmarker) for _ in self.bands[1:])

    def draws(self) -> Draws:
        """Pairs of photos and target faces; these cropped by their pseudo landmarks, where that is asked for."""
        return Draws(boxes=self.pseudo.boxes(self.trainer, self) if self.target_boxes else None)

    @property
    def phase(self) -> Phase:
        """The current epoch's part of the run."""
        return self.phase_of(self.current_epoch)

    def phase_of(self, epoch: int) -> Phase:
        """The part of the run that an epoch, counted from 0, belongs to."""
        return "bands" if epoch < self.band_share * (self.trainer.max_epochs or 1) else "pseudo"

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """They are found once, when the first part has ended."""
        return 0 if self.phase_of(epoch) == "pseudo" else None

    def configure_callbacks(self) -> list[Callback]:
        """Also what finds and saves the pseudo landmarks."""
        return [*super().configure_callbacks(), self.pseudo]

    @property
    def landmarkers(self) -> list[Landmarker]:
        """One for each band, the tested one first."""
        return [self.landmarker, *(cast(Landmarker, other) for other in self.others)]

    def setup(self, stage: str) -> None:
        """Also start every band where the landmarker starts (a resumed run then finds them in its checkpoint)."""
        super().setup(stage)
        if stage == "fit":
            for other in self.others:
                other.load_state_dict(self.landmarker.state_dict())

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One step of the current part."""
        if self.phase == "bands":
            loss, stepped = self.band_loss(batch), [LANDMARKER, *([OTHERS] if self.others else [])]
        else:
            loss, stepped = self.pseudo_loss(batch), [LANDMARKER]
        self.log(f"train/{self.phase}_loss", loss.detach(), prog_bar=True, batch_size=len(batch.source))
        self.update(loss, *stepped)

    def band_loss(self, batch: TrainBatch) -> Tensor:
        """Sum over the bands of their landmarkers' own losses on swapped photos, a scalar."""
        source, target = batch.source, batch.target
        assert source.landmarks is not None, "the source is labelled"
        assert target is not None, "the setting has a target"
        losses = []
        for landmarker, beta in zip(self.landmarkers, self.bands, strict=True):
            output = landmarker(swap_amplitude(source.images, target.images, beta))
            losses.append(landmarker.loss(output, source.landmarks))
        return torch.stack(losses).sum()

    def pseudo_loss(self, batch: TrainBatch) -> Tensor:
        """The landmarker's own loss on swapped photos and on pseudo landmarks, a scalar."""
        source, target = batch.source, batch.target
        assert target is not None, "the setting has a target"
        bands = constant(self.bands, torch.device("cpu"), torch.float32)
        beta = bands[torch.randint(len(self.bands), (len(source),))]
        photos = replace(source, images=swap_amplitude(source.images, target.images, beta))
        pseudo, weights = self.pseudo.lookup(target, self.image_size)
        loss = self.pass_both(photos, target.images, (pseudo, self.pseudo_weight * weights))[1]
        # Plain ddp expects a gradient for every parameter; the optimizer of the others is not stepped any more.
        return loss + sum(0.0 * parameter.sum() for parameter in self.others.parameters())

    def clipped(self, place: int) -> list[nn.Module]:
        """Each landmarker by itself."""
        return [self.landmarker] if place == LANDMARKER else list(self.others)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the other bands' landmarkers, at the landmarker's learning rate."""
        return [self.adam(self.others.parameters(), lr=self.learning_rate)] if self.others else []


class BandMean(Landmarker):
    """The mean landmarks of several landmarkers, as a landmarker of one stage that is not trained itself."""

    def __init__(self, landmarkers: Sequence[Landmarker]) -> None:
        super().__init__()
        self.members = nn.ModuleList(landmarkers)
        self.image_size = landmarkers[0].image_size

    @classmethod
    def of(cls, method: FDA) -> "BandMean":
        """The mean over the bands of a method."""
        return cls(method.landmarkers)

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """The members' mean landmarks."""
        return LandmarkerOutput(torch.stack([member(images).landmarks for member in self.members]).mean(0)[:, None])

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """There is none."""
        raise NotImplementedError("a mean over bands is not trained; its members are.")
