"""Base of everything that is trained: progress through the run, schedules, manual optimizer steps."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from typing_extensions import override

from datamodules.loading import steps_done, steps_of_epoch
from datamodules.ranges import at_least
from lightning_modules.finite import StaysFinite

UNBOUNDED = -1
"""Lightning's value of ``max_epochs`` and ``max_steps`` for no limit."""


class TrainingModule(LightningModule):
    """Base of the methods and of the translators' training.

    A subclass under manual optimisation calls :meth:`update` in its ``training_step``, once for each loss, and says in
    :meth:`learning_rate_of` how its learning rates change. *Place* is an optimizer's index in what
    ``configure_optimizers`` returns.
    """

    phase_name = "train"
    """The name of the phase, for methods with one phase."""
    bounds: ClassVar[Sequence[str]] = ("max_epochs", "max_steps", "max_time")
    """Trainer options any of which gives the run a length that its schedule can be computed from."""
    _share_of_time = 0.0

    @property
    def phase(self) -> str:
        """What the current epoch does, for progress bars and tables."""
        return self.phase_name

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1].

        Where ``max_epochs`` or ``max_steps`` bounds the run it comes from the number of epochs and steps alone (of two
        bounds, the one that is reached first), so that resuming needs no scheduler. Else it is the share of
        ``max_time``. Of epochs with different numbers of steps each counts the same.
        """
        trainer, shares = self.trainer, []
        if trainer.max_epochs != UNBOUNDED and cast(Any, trainer).reload_dataloaders_every_n_epochs:
            done = trainer.current_epoch + steps_of_epoch(trainer) / trainer.num_training_batches
            shares.append(done / (trainer.max_epochs or 1))
        elif trainer.max_epochs != UNBOUNDED:
            shares.append(steps_done(trainer) / (trainer.num_training_batches * (trainer.max_epochs or 1)))
        if trainer.max_steps != UNBOUNDED:
            shares.append(trainer.global_step / trainer.max_steps)
        return min(1.0, max(shares, default=self._share_of_time))

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse a run that cannot be trained.

        Raises:
            ValueError: none of :attr:`bounds` is set; or float16 with several optimizers, which would share a gradient
                scale that each of their steps may change.
        """
        for name in ("max_epochs", "max_steps"):
            if (length := getattr(trainer, name)) is not None and length != UNBOUNDED:
                at_least(1, **{f"trainer.{name}": length})
        given = {
            "max_epochs": trainer.max_epochs != UNBOUNDED,
            "max_steps": trainer.max_steps != UNBOUNDED,
            "max_time": _timer(trainer) is not None,
        }
        if not any(given[bound] for bound in self.bounds):
            wanted = " or ".join(f"trainer.{bound}" for bound in self.bounds)
            raise ValueError(f"the length of the run is unknown to {type(self).__name__}; give {wanted}.")
        if trainer.precision in ("16-mixed", "16-true") and not self.automatic_optimization:
            optimizers = self.configure_optimizers()
            if isinstance(optimizers, list) and len(optimizers) > 1:
                raise ValueError(
                    f"{type(self).__name__} has {len(optimizers)} optimizers, which trainer.precision "
                    f"{trainer.precision} cannot train together; give trainer.precision=bf16-mixed."
                )

    def configure_callbacks(self) -> list[Callback]:
        """What ends a training that diverges."""
        return [StaysFinite()]

    def setup(self, stage: str) -> None:
        """Check the trainer before fitting, see :meth:`check_trainer`."""
        if stage == "fit":
            self.check_trainer(self.trainer)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Read the clock once a step, the same for all processes, where nothing but time bounds the run."""
        timer = _timer(self.trainer)
        if timer is not None and self.trainer.max_epochs == self.trainer.max_steps == UNBOUNDED:
            elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
            share = elapsed / max(elapsed + (remaining or 0.0), 1e-9)
            self._share_of_time = self.trainer.strategy.broadcast(share)

    def adam(self, parameters: Iterable[nn.Parameter], decoupled: bool = False, **options: Any) -> torch.optim.Adam:
        """Adam as one pass over all parameters, where the device has a kernel for that.

        Args:
            parameters: what it moves.
            decoupled: weight decay is (AdamW).
            options: of ``torch.optim.Adam``.
        """
        moved = list(parameters)
        # The fused kernel would divide by float16's gradient scale only after the gradient was clipped.
        scaled = self._trainer is not None and self.trainer.precision in ("16-mixed", "16-true")
        fused = not scaled and all(parameter.device.type in ("cpu", "cuda") for parameter in moved)
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        return kind(moved, fused=fused, **options)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does, which under mixed precision refuses fused optimizers; no float16 comes to them."""
        plain = gradient_clip_algorithm in (None, GradClipAlgorithmType.NORM)
        if optimizer.defaults.get("fused") and gradient_clip_val and plain:
            held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(held, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

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


def stops(trainer: Trainer) -> bool:
    """Whether a run was told to stop, and has the steps and epochs it needs at least."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


class ValidateLastEpoch(Callback):
    """Validates when a run ends, also in an epoch that ``check_val_every_n_epoch`` leaves out, or within one.

    So every run has scores of its last weights, and a best checkpoint, however short it is. A run ends with
    ``max_epochs`` or ``max_steps``, or where ``max_time`` or another callback stops it. For it to see that, a module
    must give it in ``configure_callbacks``: Lightning calls those after the trainer's own.
    """

    def __init__(self) -> None:
        self.every: int | None = None

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.every = trainer.check_val_every_n_epoch

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning decides whether to validate after this hook, and does so within an epoch if it is told to stop.
        if trainer.max_steps != UNBOUNDED and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True
        last = trainer.max_epochs != UNBOUNDED and trainer.current_epoch + 1 >= (trainer.max_epochs or 1)
        if self.every is not None and (last or stops(trainer)):
            trainer.check_val_every_n_epoch = 1

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.check_val_every_n_epoch = self.every


def _timer(trainer: Trainer) -> Timer | None:
    """What ends the run after ``max_time``, if anything does."""
    timers = (callback for callback in cast(Any, trainer).callbacks if isinstance(callback, Timer))
    return next((timer for timer in timers if timer.time_remaining() is not None), None)


def cosine_decay(progress: float) -> float:
    """From 1 at the beginning of a run to 0 at its end, along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear_decay(progress: float, start: float = 0.5) -> float:
    """1 up to the share ``start`` of a run, then along a line to 0 at its end."""
    return min(1.0, (1 - progress) / (1 - start)) if start < 1 else 1.0
