"""Learning by conditional face warping: Algorithm 1 of the paper, and the joint optimisation of eq. 3."""

from typing import Any, Literal, cast

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from datamodules.faces import FaceBatch, TrainBatch
from datamodules.loading import Draws, epoch_drawn
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.augment.selection import require_share
from lightning_modules.augment.stylization import Stylization
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.methods.pseudo import PseudoLandmarkStore, Teachers
from lightning_modules.warping.objective import WarperObjective, WarpTerms

Phase = Literal["warper", "proximal", "joint"]

WARPER, PROXIMAL = 0, 1
"""Places of the two optimizers."""


class FaceWarping(Adaptation):
    """Adapt a pretrained landmarker to unlabelled stylised faces by warping labelled photos onto them.

    Alternating optimisation repeats ``warper_epochs`` epochs of the warper phase (eq. 4: photos warped by the predicted
    landmarks are to match the stylised faces), finding pseudo landmarks for the whole target set, and
    ``proximal_epochs`` epochs of the proximal phase (eq. 5: photos' labels and pseudo landmarks). Joint optimisation
    takes both terms in each step (eq. 3), with pseudo landmarks renewed every ``warper_epochs + proximal_epochs``
    epochs. Each phase has an Adam of its own over the whole landmarker.

    Args:
        landmarker: the network, pretrained on the source.
        warper: the warping objective; the paper's if None.
        optimization: ``alternating`` (Algorithm 1) or ``joint`` (eq. 3).
        warper_epochs: L1, epochs of a warper phase.
        proximal_epochs: L2, epochs of a proximal phase.
        warper_learning_rate: Adam's, in the warper phase.
        proximal_learning_rate: Adam's, in the proximal phase and for joint steps.
        gamma_learning_rate: Adam's, for the warper's own parameters γ where it has any (``LearnedField``), in warper
            and joint steps; ``warper_learning_rate`` if None.
        schedule: ``constant`` (published), or ``cosine``: both learning rates fall to zero over the run.
        image_weight: of the image term.
        landmark_weight: of the landmark-warping error (zero unless the spline smooths or γ is learned).
        anchor_weight: of the source's own loss in warper steps, which keeps the landmarker from drifting (0 in eq. 4).
        pseudo_weight: of the loss on pseudo landmarks.
        exaggeration: how photos are warped to stylised shapes for the proximal phase; None to train on plain photos
            only (the paper).
        exaggerated_share: probability that a photo of a proximal batch is warped so.
        mirror_average: take pseudo landmarks from the crop and its mirror image.
        keep: share of target faces whose pseudo landmarks are trained on, by agreement under mirroring (or of the
            landmarkers, with ``teachers``).
        freeze_batch_norm: keep batch-norm statistics fixed in warper steps.
        gradient_clip_norm: largest norm of the landmarker's gradient; None for no limit.
        return_to_start: see :class:`Adaptation`.
        pseudo_recrop: how often at most a target face is cropped again while its pseudo landmarks are found.
        teachers: further landmarkers that find pseudo landmarks, with this one or instead of it. A face then counts the
            less the more they disagree on it, see :class:`Teachers`.
        target_boxes: crop the target faces of proximal and joint epochs to the box of their pseudo landmarks, in the
            same way as photos to that of their labels.
        mixed: draw proximal batches from photos and target faces as one shuffled set; the loss is then the mean over
            the faces of a batch. An epoch is one pass over both, so the trainer must ask for a loader every epoch.
        warper_plain: photos and target faces of warper steps are not augmented.
        warper_frontal: photos of warper steps are frontal ones. A warper epoch is then one pass over them, or over the
            target faces where there are fewer.

    Raises:
        ValueError: no phase has an epoch, or a share is not in [0, 1]; or ``mixed`` together with joint optimisation or
            with ``exaggeration``, which need as many photos as target faces.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        warper: WarperObjective | None = None,
        optimization: Literal["alternating", "joint"] = "alternating",
        warper_epochs: int = 5,
        proximal_epochs: int = 5,
        warper_learning_rate: float = 1e-4,
        proximal_learning_rate: float = 1e-3,
        schedule: Literal["constant", "cosine"] = "constant",
        image_weight: float = 1.0,
        landmark_weight: float = 1.0,
        anchor_weight: float = 0.0,
        pseudo_weight: float = 1.0,
        exaggeration: Exaggeration | None = None,
        exaggerated_share: float = 0.5,
        mirror_average: bool = False,
        keep: float = 1.0,
        freeze_batch_norm: bool = False,
        gradient_clip_norm: float | None = None,
        gamma_learning_rate: float | None = None,
        return_to_start: float = 0.0,
        pseudo_recrop: int = 0,
        target_boxes: bool = False,
        mixed: bool = False,
        warper_plain: bool = False,
        warper_frontal: bool = False,
        teachers: Teachers | None = None,
    ) -> None:
        super().__init__(landmarker, proximal_learning_rate, schedule, gradient_clip_norm, return_to_start)
        if warper_epochs < 0 or proximal_epochs < 0 or warper_epochs + proximal_epochs == 0:
            raise ValueError(f"warper_epochs={warper_epochs}, proximal_epochs={proximal_epochs}: expected one above 0.")
        if mixed and (optimization == "joint" or exaggeration is not None):
            raise ValueError("mixed=True needs optimization='alternating' and no exaggeration: those work on pairs.")
        self.warper = warper or WarperObjective()
        self.optimization = optimization
        self.warper_epochs, self.proximal_epochs = warper_epochs, proximal_epochs
        self.warper_learning_rate = warper_learning_rate
        self.gamma_learning_rate = warper_learning_rate if gamma_learning_rate is None else gamma_learning_rate
        self.image_weight, self.landmark_weight = image_weight, landmark_weight
        self.anchor_weight, self.pseudo_weight = anchor_weight, pseudo_weight
        share = require_share("exaggerated_share", exaggerated_share)
        self.stylization = Stylization(exaggeration, look=None, share=share) if exaggeration else None
        self.freeze_batch_norm = freeze_batch_norm
        self.pseudo = PseudoLandmarkStore(mirror_average, keep, pseudo_recrop, teachers=teachers)
        self.target_boxes, self.mixed = target_boxes, mixed
        self.warper_plain, self.warper_frontal = warper_plain, warper_frontal

    # --- phases -------------------------------------------------------------------------------------------------

    def phase_of(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0 over the whole run."""
        if self.optimization == "joint":
            return "joint"
        return "warper" if epoch % self._cycle < self.warper_epochs else "proximal"

    @property
    def _cycle(self) -> int:
        return self.warper_epochs + self.proximal_epochs

    @property
    def phase(self) -> Phase:
        """The current epoch's phase."""
        return self.phase_of(self.current_epoch)

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """They are found when a warper phase has just ended (Algorithm 1, line 6), or a joint cycle starts."""
        return None if self.phase_of(epoch) == "warper" else epoch // self._cycle

    def configure_callbacks(self) -> list[Callback]:
        """Also what finds and saves the pseudo landmarks."""
        return [*super().configure_callbacks(), self.pseudo]

    def draws(self) -> Draws:
        """Pairs of photos and target faces; in proximal epochs both in one set, if they are mixed."""
        if self.phase_of(epoch_drawn(self.trainer)) == "warper":
            return Draws(plain=self.warper_plain, frontal=self.warper_frontal, shorter=self.warper_frontal)
        boxes = self.pseudo.boxes(self.trainer, self) if self.target_boxes else None
        return Draws(mixed=self.mixed, boxes=boxes)

    def check_trainer(self, trainer: Trainer) -> None:
        """Also refuse a trainer that would give all epochs the length of the first where theirs differ.

        Raises:
            ValueError: it does, or see :meth:`TrainingModule.check_trainer`.
        """
        super().check_trainer(trainer)
        every = cast(Any, trainer).reload_dataloaders_every_n_epochs
        if (self.mixed or self.warper_frontal) and every != 1:
            raise ValueError(
                "with mixed or warper_frontal, warper and proximal epochs differ in length; give "
                "trainer.reload_dataloaders_every_n_epochs=1."
            )

    @property
    def gamma(self) -> list[nn.Parameter]:
        """The warper's own parameters that are learned; empty where the field is fitted in closed form."""
        return [parameter for parameter in self.warper.parameters() if parameter.requires_grad]

    @property
    def warper_learns(self) -> bool:
        """Whether a gradient reaches anything in warper steps. Without one, as in the published program, they change
        batch-norm statistics alone: Adam does not move on a gradient of zero, so the networks' is not computed."""
        return bool(self.warper.gradient_through_warp or self.anchor_weight or self.gamma)

    # --- steps --------------------------------------------------------------------------------------------------

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One optimizer step of the current phase, on random pairs of photos and stylised faces or on both mixed."""
        phase = self.phase
        self.train_batch_norm(train=not (phase == "warper" and self.freeze_batch_norm))
        losses = []
        if phase in ("warper", "joint"):
            assert batch.target is not None, "the setting has a target"
            with torch.set_grad_enabled(phase == "joint" or self.warper_learns):
                losses.append(self.warper_loss(batch.source, batch.target))
        if phase in ("proximal", "joint"):
            losses.append(self.proximal_loss(batch.source, batch.target))
        loss = torch.stack(losses).sum()
        if phase == "proximal":
            # Plain ddp expects a gradient for every parameter; this Adam does not hold γ, so γ stays as it is.
            loss = loss + sum(0.0 * parameter.sum() for parameter in self.gamma)
        size = len(batch.source) or len(batch.target or [])  # a mixed batch may be without photos
        self.log(f"train/{phase}_loss", loss.detach(), prog_bar=True, batch_size=size)
        if phase == "warper" and not self.warper_learns:
            # The step is made all the same, on gradients of zero: it is counted, and Adam's state stays in step.
            loss = loss + sum(0.0 * parameter.sum() for parameter in self.landmarker.parameters())
        self.update(loss, WARPER if phase == "warper" else PROXIMAL)

    def warp(self, source: FaceBatch, target: FaceBatch) -> tuple[WarpTerms, Tensor]:
        """Warp each photo onto its stylised face.

        Returns:
            The objective's terms (whose ``order`` says which photo went with which stylised face) and the landmarks
            predicted on the stylised faces, crop coordinates, ``(B, 68, 2)``.
        """
        assert source.landmarks is not None, "the source is labelled"
        predicted = self(target.images)
        return self.warper(source.images, source.landmarks, target.images, predicted), predicted

    def warper_loss(self, source: FaceBatch, target: FaceBatch) -> Tensor:
        """Eq. 4: image term and landmark-warping error, and the source's own loss as an anchor if asked for."""
        terms, predicted = self.warp(source, target)
        loss = self.image_weight * terms.image.mean() + self.landmark_weight * terms.landmarks.mean()
        size = len(source)
        self.log("train/image_term", terms.image.mean().detach(), batch_size=size)
        self.log("train/landmark_warping_error", terms.landmarks.mean().detach(), batch_size=size)
        self.log("train/folded", terms.folded.mean(), batch_size=size)
        if self.anchor_weight:
            loss = loss + self.anchor_weight * self.supervised_loss(source)
        # Of parameters that no term reaches, plain ddp expects a gradient too.
        return loss + 0.0 * predicted.sum()

    def proximal_loss(self, source: FaceBatch, target: FaceBatch | None) -> Tensor:
        """Eq. 5: the landmarker's own loss on photos' labels and on pseudo landmarks, in one forward pass.

        Args:
            source: labelled photos; of a mixed batch there may be none.
            target: stylised faces; None where a mixed batch has none.

        Returns:
            The mean over the photos plus the weighted sum over the stylised faces divided by the number of photos; of
            a mixed batch, the weighted sum over all faces divided by their number. A scalar.
        """
        if target is None:
            return self.supervised_loss(source)
        pseudo, weights = self.pseudo.lookup(target, self.image_size)
        photos = source
        if self.stylization is not None:
            photos = self.stylization(source, target.images, pseudo, self.mean_face)
        divisor = len(photos) + len(target) if self.mixed else None
        return self.pass_both(photos, target.images, (pseudo, self.pseudo_weight * weights), divisor)[1]

    # --- optimizers ---------------------------------------------------------------------------------------------

    def learning_rate_of(self, place: int) -> float:
        """The phase's learning rate for the landmarker at this step."""
        return (self.warper_learning_rate if place == WARPER else self.learning_rate) * self.decay

    def clipped(self, place: int) -> list[nn.Module]:
        """The landmarker, in both phases; γ is not clipped."""
        return [self.landmarker]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Also give γ, where this optimizer holds it, its own learning rate."""
        super().on_before_optimizer_step(optimizer)
        for group in optimizer.param_groups[1:]:
            group["lr"] = self.gamma_learning_rate * self.decay

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Two Adams over the landmarker: the warper phase's, which also holds γ, and the proximal phase's.

        In joint optimisation the latter makes all steps and holds γ.
        """
        parameters, rates = list(self.landmarker.parameters()), (self.warper_learning_rate, self.learning_rate)
        adams: list[torch.optim.Optimizer] = [self.adam(parameters, lr=rate) for rate in rates]
        if self.gamma:
            holder = PROXIMAL if self.optimization == "joint" else WARPER
            adams[holder].add_param_group({"params": self.gamma, "lr": self.gamma_learning_rate})
        return adams
