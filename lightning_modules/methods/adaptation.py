"""What the methods share that adapt a pretrained landmarker to unlabelled stylised faces, step by step."""

from copy import deepcopy
from functools import cached_property
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from typing_extensions import override

from datamodules.faces import FaceBatch
from datamodules.ranges import above, at_least
from lightning_modules.augment.selection import require_share
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.methods.base import FaceMethod
from lightning_modules.training import cosine_decay, stops

LANDMARKER = 0
"""Place of the landmarker's optimizer; a method's further ones come after it."""


class Adaptation(FaceMethod):
    """Base of methods with an Adam over the landmarker: subclasses add ``training_step``.

    The defaults are those of ``face_warping``'s proximal phase, so that methods differ only in what they learn from.
    Optimisation is manual: a step calls :meth:`update` once for each loss. Discriminators and other networks have
    further optimizers (:meth:`further_optimizers`), at learning rates of their own.

    Args:
        landmarker: the network, pretrained on the source.
        learning_rate: Adam's over the landmarker.
        schedule: ``cosine``: it falls to zero over the run; ``constant``.
        gradient_clip_norm: largest norm of the landmarker's gradient; None for no limit.
        return_to_start: how far, in [0, 1], the landmarker goes back towards its start after the last step, along the
            straight line between their weights (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
            NME on photos recovers by more than NME on drawings worsens.

    Raises:
        RangeError: ``return_to_start`` is not in [0, 1], or another number is out of its range.
    """

    needs_target = True
    needs_pretraining = True

    def __init__(
        self,
        landmarker: Landmarker,
        learning_rate: float = 3e-4,
        schedule: Literal["constant", "cosine"] = "cosine",
        gradient_clip_norm: float | None = 1.0,
        return_to_start: float = 0.0,
    ) -> None:
        super().__init__(landmarker)
        at_least(0, learning_rate=learning_rate)
        above(0, gradient_clip_norm=gradient_clip_norm)
        self.return_to_start = require_share("return_to_start", return_to_start)
        # Part of the checkpoints, so that a resumed run returns to the same start.
        self.start = deepcopy(landmarker).requires_grad_(False) if return_to_start > 0 else None
        self.automatic_optimization = False
        self.learning_rate, self.schedule, self.gradient_clip_norm = learning_rate, schedule, gradient_clip_norm

    @cached_property
    def mean_face(self) -> Tensor:
        """Mean of the source's labels under the plain crop, crop coordinates, shape ``(68, 2)``."""
        shapes: Tensor = cast(Any, self.trainer).datamodule.source_shapes()
        return shapes.mean(0).to(next(self.landmarker.parameters()))

    def setup(self, stage: str) -> None:
        """Also keep the start, if the run is to return to it (a resumed run then loads it from its checkpoint)."""
        super().setup(stage)
        if stage == "fit" and self.start is not None:
            self.start.load_state_dict(self.landmarker.state_dict())

    # --- losses -------------------------------------------------------------------------------------------------

    def train_batch_norm(self, train: bool) -> None:
        """Let batch-norm layers use and update the statistics of their batches (``train``), or keep the stored ones."""
        for module in self.trained.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(train)

    def pass_both(
        self,
        photos: FaceBatch,
        faces: Tensor,
        pseudo: tuple[Tensor, Tensor] | None = None,
        divisor: int | None = None,
    ) -> tuple[LandmarkerOutput, Tensor]:
        """One forward pass over photos and target faces together, which batch-norm then sees as one batch.

        Args:
            photos: B labelled crops.
            faces: target crops, RGB in [0, 1], shape ``(N, 3, S, S)``.
            pseudo: their pseudo landmarks (crop coordinates, shape ``(N, 68, 2)``) and how much each face counts where
                a photo counts 1, shape ``(N,)``; None to learn from photos only.
            divisor: what the sum over photos and target faces is divided by; B if None.

        Returns:
            The output for the photos, then the target faces. And the landmarker's own loss, a scalar (eq. 5): the mean
            over the photos, plus the weighted sum over the target faces divided by B; both over ``divisor`` if given.
        """
        assert photos.landmarks is not None, "the source is labelled"
        labels = photos.landmarks
        # Without pseudo landmarks the target faces need some to be compared with; they have weight 0.
        target, weights = pseudo or (labels[:1].expand(len(faces), -1, -1), labels.new_zeros(len(faces)))
        output: LandmarkerOutput = self.train_pass(torch.cat([photos.images, faces]))
        weights = torch.cat([weights.new_ones(len(photos)), weights])
        loss = self.trained.loss(output, torch.cat([labels, target]), weights)
        # The landmarker's loss is a weighted mean over all faces.
        return output, loss * (weights.sum() / (divisor or len(photos)))

    # --- optimizers ---------------------------------------------------------------------------------------------

    @property
    def decay(self) -> float:
        """What the schedule multiplies learning rates by at this step."""
        return cosine_decay(self.progress) if self.schedule == "cosine" else 1.0

    def learning_rate_of(self, place: int) -> float:
        """The landmarker's learning rate at this step."""
        return self.learning_rate * self.decay

    def clipped(self, place: int) -> list[nn.Module]:
        """Networks whose gradients are clipped, each by itself, before the optimizer in that place steps."""
        return [self.trained] if place == LANDMARKER else []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip gradients: under manual optimisation Lightning does not."""
        if self.gradient_clip_norm is None:
            return
        places = [place for place, other in enumerate(self._optimizers()) if other.optimizer is optimizer]
        for network in (network for place in places for network in self.clipped(place)):
            nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip_norm)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Those of networks other than the landmarker, from place 1 on."""
        return []

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the landmarker, then the further ones."""
        adam = self.adam(self.trained.parameters(), lr=self.learning_rate)
        return [adam, *self.further_optimizers()]

    # --- the end of a run ---------------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Also what returns to the start, where that is asked for."""
        return [*super().configure_callbacks(), *([] if self.start is None else [ReturnToStart()])]

    @torch.no_grad()
    def settle(self, landmarker: Landmarker) -> None:
        """Take a trained landmarker part of the way back to the start.

        Args:
            landmarker: that of this method, or an average of it over the steps; changed in place.
        """
        assert self.start is not None, "return_to_start is above 0"
        for mine, first in zip(weights_of(landmarker), weights_of(self.start), strict=True):
            if mine.is_floating_point():  # not batch-norm's count of batches
                mine.lerp_(first, self.return_to_start)


class ReturnToStart(Callback):
    """Settles an :class:`Adaptation` once, when its run ends: after the last step or earlier.

    Earlier is when ``max_steps``, ``max_time`` or another callback stops the run, or Ctrl-C does. Where a checkpoint is
    written then, it holds the settled landmarker, and a run resumed from it goes on from that. An average of the
    weights (``WeightAveraging``) is settled as well.
    """

    def __init__(self) -> None:
        self.settled = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.settled = False

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning calls this after a Timer's hook and before validation and a ModelCheckpoint's.
        if cast(Adaptation, pl_module).progress >= 1 or stops(trainer):
            self._settle(trainer, cast(Adaptation, pl_module))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if stops(trainer):
            self._settle(trainer, cast(Adaptation, pl_module))

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.state.fn == TrainerFn.FITTING:
            self._settle(trainer, cast(Adaptation, pl_module))

    def _settle(self, trainer: Trainer, method: Adaptation) -> None:
        if self.settled:
            return
        self.settled = True
        averages = [c._average_model for c in cast(Any, trainer).callbacks if isinstance(c, WeightAveraging)]
        for module in (method, *(average.module for average in averages if average is not None)):
            method.settle(cast(Adaptation, module).landmarker)


def weights_of(network: nn.Module) -> list[Tensor]:
    """Parameters, then buffers, always in the same order."""
    return [*network.parameters(), *network.buffers()]
