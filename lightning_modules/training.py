"""What is trained here has in common: how far its run is, schedules, and optimizer steps taken by hand."""

import math
from typing import cast

from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from datamodules.setting import steps_done


class TrainingModule(LightningModule):
    """Base of the methods and of the translators' training.

    A subclass under manual optimisation calls :meth:`update` in its ``training_step``, once for each loss, and says in
    :meth:`learning_rate_of` how its learning rates change. *Place* is an optimizer's index in what
    ``configure_optimizers`` returns.
    """

    phase_name = "train"
    """What :attr:`phase` is where all epochs do the same."""

    @property
    def phase(self) -> str:
        """What the current epoch does, for progress bars and tables."""
        return self.phase_name

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]: from the number of steps alone, so resuming needs no scheduler."""
        total = self.trainer.num_training_batches * (self.trainer.max_epochs or 1)
        of_epochs, of_steps = steps_done(self.trainer) / total, self.trainer.global_step / self.trainer.max_steps
        return min(1.0, max(of_epochs, of_steps))

    def learning_rate_of(self, place: int) -> float:
        """The learning rate of the optimizer in that place at the current step."""
        raise NotImplementedError(f"{type(self).__name__} does not say its learning rates.")

    def update(self, loss: Tensor, *places: int) -> None:
        """One step of an optimizer, or several, down the gradient of ``loss``; only their parameters change.

        Gradients that ``loss`` leaves in other networks are cleared by those networks' own next update.

        Args:
            loss: a scalar.
            places: of the optimizers; 0 if none is given.
        """
        chosen = {place: self._optimizers()[place] for place in places or (0,)}
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


def cosine_decay(progress: float) -> float:
    """From 1 at the beginning of a run to 0 at its end, along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear_decay(progress: float, start: float = 0.5) -> float:
    """1 up to the share ``start`` of a run, then along a line to 0 at its end."""
    return min(1.0, (1 - progress) / (1 - start)) if start < 1 else 1.0
