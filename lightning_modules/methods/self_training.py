"""Self-training with a mean teacher: its landmarks on plain crops are what the student learns on augmented ones."""

import math
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.faces import TrainBatch
from datamodules.loading import steps_done
from datamodules.ranges import above, at_least, shares
from lightning_modules.augment.strong_view import StrongView
from lightning_modules.augment.stylization import Stylization
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.methods.adaptation import weights_of
from lightning_modules.methods.pseudo.teachers import TOLERANCE, trust
from lightning_modules.methods.stylize import Stylize


class SelfTraining(Stylize):
    """Learn photos' labels and, on stylised faces, the landmarks of a teacher.

    The teacher (Tarvainen and Valpola, NeurIPS 2017) is an exponential moving average of the student, batch-norm
    statistics included. In evaluation mode it estimates landmarks on the crop as the loader gives it and on its mirror
    image; their mean is the student's target on a :class:`StrongView` of the crop. The more the two estimates disagree,
    the less the face counts.

    Args:
        landmarker: the network, pretrained on the source: what is tested and saved.
        ema_decay: of the teacher. It rises to this from 0.1 as (1 + k) / (10 + k) with the step k: a young average
            would else be dominated by the start.
        consistency_weight: of the loss on the teacher's landmarks, after ``ramp_up``.
        ramp_up: share of the run in which that weight rises, as exp(-5 (1 - t)²) (the paper's).
        tolerance: of the disagreement d between crop and mirror image, over inter-ocular distance.
        confidence: ``soft``: a face weighs exp(-d² / (2 tolerance²)); ``threshold``: 1 up to the tolerance, else 0.
        tested: which of the two is validated, tested and saved as the landmarker (the paper: the teacher).
        view: the student's view; the defaults of :class:`StrongView` if None.
        stylization: how photos are stylised, see :class:`Stylize`; None leaves them as they are.
        freeze_batch_norm: see :class:`Stylize`; of the student.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.

    Raises:
        RangeError: a number is out of its range.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        ema_decay: float = 0.999,
        consistency_weight: float = 1.0,
        ramp_up: float = 0.25,
        tolerance: float = TOLERANCE,
        confidence: Literal["soft", "threshold"] = "soft",
        tested: Literal["teacher", "student"] = "teacher",
        view: StrongView | None = None,
        stylization: Stylization | None = None,
        freeze_batch_norm: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, stylization, freeze_batch_norm, **options)
        shares(ema_decay=ema_decay, ramp_up=ramp_up)
        above(0, tolerance=tolerance)
        at_least(0, consistency_weight=consistency_weight)
        self.ema_decay, self.consistency_weight, self.ramp_up = ema_decay, consistency_weight, ramp_up
        self.tolerance, self.confidence, self.tested = tolerance, confidence, tested
        self.view = view or StrongView()
        self.other = deepcopy(landmarker)

    @property
    def teacher(self) -> Landmarker:
        """The moving average."""
        return self.landmarker if self.tested == "teacher" else self.other

    @property
    def trained(self) -> Landmarker:
        """The student."""
        return self.other if self.tested == "teacher" else self.landmarker

    def setup(self, stage: str) -> None:
        """Also start both where the landmarker starts (a resumed run then finds them in its checkpoint)."""
        super().setup(stage)
        if stage == "fit":
            self.other.load_state_dict(self.landmarker.state_dict())
            # Not before: pretraining, which comes first, trains the landmarker.
            self.teacher.requires_grad_(False)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One step of the student on photos and stylised faces, and one of the teacher after it."""
        assert batch.target is not None, "the setting has a target"
        seen, disagreement = estimate(self.teacher, batch.target.images)
        self.train_batch_norm(not self.freeze_batch_norm)
        photos = self.stylized(batch.source, batch.target, seen)
        views, moved = self.view(batch.target.images, seen)
        trust = self.trust(disagreement)
        weights = self.consistency_weight * rise(self.progress, self.ramp_up) * trust
        loss = self.pass_both(photos, views, (moved, weights))[1]
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(photos))
        self.log("train/trust", trust.mean(), batch_size=len(photos))
        self.update(loss)
        self.follow(steps_done(self.trainer))

    def trust(self, disagreement: Tensor) -> Tensor:
        """How much each face counts, in [0, 1], given the disagreement of crop and mirror image; shapes ``(B,)``."""
        if self.confidence == "threshold":
            return (disagreement <= self.tolerance).to(disagreement.dtype)
        return trust(disagreement, self.tolerance)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the teacher towards the student after a step, counted from 0."""
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        for theirs, ours in zip(weights_of(self.teacher), weights_of(self.trained), strict=True):
            if theirs.is_floating_point():
                theirs.lerp_(ours, 1 - decay)
            else:  # batch-norm's count of batches
                theirs.copy_(ours)


def rise(progress: float, share: float) -> float:
    """From exp(-5) at the start of a run to 1 once that share of it is done; 1 throughout for no share."""
    left = 1 - min(1.0, progress / share) if share > 0 else 0.0
    return math.exp(-5 * left**2)
