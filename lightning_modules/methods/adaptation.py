"""What the methods share that adapt a pretrained landmarker to unlabelled stylised faces, step by step."""

import math
from copy import deepcopy
from typing import Any, Literal, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from datamodules.faces import FaceBatch
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.base import FaceMethod

LANDMARKER = 0
"""Place of the landmarker's optimizer; a method's further ones come after it."""


class Adaptation(FaceMethod):
    """Base of methods with one Adam over the landmarker: subclasses add ``training_step``.

    The defaults are those of ``face_warping``'s proximal phase, so that methods differ by what they learn from alone.
    Optimisation is manual: a step calls :meth:`update` once for each optimizer. Discriminators and the like are further
    optimizers (:meth:`further_optimizers`), at learning rates of their own.

    Args:
        landmarker: the network, pretrained on the source.
        learning_rate: Adam's over the landmarker.
        schedule: ``cosine``: it falls to zero over the run; ``constant``.
        gradient_clip_norm: longest gradient of the landmarker; None for no limit.
        return_to_start: how far, in [0, 1], the landmarker goes back towards its start after the last step, along the
            straight line between their weights (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
            Photos get back more than drawings lose.

    Raises:
        ValueError: ``return_to_start`` is not in [0, 1].
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
        if not 0 <= return_to_start <= 1:
            raise ValueError(f"return_to_start is {return_to_start}; expected a share in [0, 1].")
        self.return_to_start = return_to_start
        # In the checkpoints, so that a resumed run has it.
        self.start = deepcopy(landmarker).requires_grad_(False) if return_to_start > 0 else None
        self.automatic_optimization = False
        self.learning_rate, self.schedule, self.gradient_clip_norm = learning_rate, schedule, gradient_clip_norm

    def setup(self, stage: str) -> None:
        """Also keep the start, if it is to be returned to (a resumed run then finds it in its checkpoint)."""
        super().setup(stage)
        if stage == "fit" and self.start is not None:
            self.start.load_state_dict(self.landmarker.state_dict())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Settle after the last step, before the landmarker is validated and saved."""
        if self.progress >= 1:
            self.settle(self.landmarker)

    @torch.no_grad()
    def settle(self, landmarker: Landmarker) -> None:
        """Take a trained landmarker part of the way back to the start.

        Args:
            landmarker: that of this method, or an average of it over the steps; changed in place.
        """
        if self.start is None:
            return
        for mine, first in zip(weights_of(landmarker), weights_of(self.start), strict=True):
            if mine.is_floating_point():  # not batch-norm's count of batches
                mine.lerp_(first, self.return_to_start)

    def supervised_loss(self, photos: FaceBatch) -> Tensor:
        """The landmarker's own loss on labelled photos, a scalar."""
        assert photos.landmarks is not None, "the source is labelled"
        return self.trained.loss(self.trained(photos.images), photos.landmarks)

    @property
    def decay(self) -> float:
        """What the schedule multiplies learning rates by at this step."""
        return cosine_decay(self.progress) if self.schedule == "cosine" else 1.0

    def learning_rate_of(self, which: int) -> float:
        """The current learning rate of the optimizer in that place."""
        return self.learning_rate * self.decay

    def update(self, loss: Tensor, *which: int) -> None:
        """One step of an optimizer, or several, down the gradient of ``loss``; only their parameters move.

        What other networks on the graph are left with as gradients is cleared by their own next update.

        Args:
            loss: a scalar.
            which: places of the optimizers; the landmarker's if none is named.
        """
        chosen = {place: self._optimizers()[place] for place in which or (LANDMARKER,)}
        for place, optimizer in chosen.items():
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate_of(place)
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in chosen.values():
            optimizer.step()

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return cast(list[LightningOptimizer], optimizers if isinstance(optimizers, list) else [optimizers])

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip the landmarker's gradient (Lightning leaves this to manual optimisation)."""
        if self.gradient_clip_norm is not None and optimizer is self._optimizers()[LANDMARKER].optimizer:
            nn.utils.clip_grad_norm_(self.trained.parameters(), self.gradient_clip_norm)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Those of networks other than the landmarker, from place 1 on."""
        return []

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the landmarker, then the further ones."""
        adam = torch.optim.Adam(self.trained.parameters(), lr=self.learning_rate)
        return [adam, *self.further_optimizers()]


def weights_of(landmarker: Landmarker) -> list[Tensor]:
    """Parameters and buffers, always in the same order."""
    return [*landmarker.parameters(), *landmarker.buffers()]


def cosine_decay(progress: float) -> float:
    """From 1 at the beginning of a run to 0 at its end, along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))
