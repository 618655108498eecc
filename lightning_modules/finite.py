"""Trainings that stop being finite: seen at once, ended with one message, and never written to a file."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from datamodules.loading import steps_done
from lightning_modules.devices import Reading
from lightning_modules.weights import not_finite_in

_REMEDY: Final = (
    "Try a smaller learning rate, a limit on the gradient (gradient_clip_norm, or trainer.gradient_clip_val), or "
    "trainer.precision=32-true. Checkpoints written before, if any, are kept, and RESUME=1 goes on from the last one."
)


class DivergedError(ValueError):
    """A training is no longer finite. The message says at which step and what to try."""

    @classmethod
    def of_file(cls, path: object, tensor: str) -> Self:
        """Of a checkpoint that is therefore not written."""
        return cls(f"{path}: not written, because the training has diverged: {tensor} is not finite. {_REMEDY}")


@dataclass(frozen=True)
class _Step:
    """Where a training was when a loss was computed."""

    step: int
    epoch: int
    phase: str
    rates: tuple[float, ...]

    @classmethod
    def of(cls, trainer: Trainer, module: LightningModule) -> "_Step":
        rates = tuple(group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups)
        return cls(steps_done(trainer), trainer.current_epoch, str(getattr(module, "phase", "train")), rates)

    def error(self, found: str, done: bool = False) -> DivergedError:
        """What is told of this step, or of the one before if it is ``done``."""
        rates = " and ".join(f"{rate:g}" for rate in dict.fromkeys(self.rates)) or "unknown"
        when = f"after step {self.step}" if done else f"in step {self.step + 1}"
        return DivergedError(
            f"the training is no longer finite: {found} {when} (epoch {self.epoch + 1}, {self.phase} phase), learning "
            f"rate {rates}. {_REMEDY}"
        )


class StaysFinite(Callback):
    """Ends a training whose loss or weights are not finite.

    On a CPU every loss is looked at before its gradient is computed, so that the weights stay those of the step before.
    On a GPU a loss is looked at when it has arrived on the host, a few steps later: no step waits for it. Weights are
    looked at before every validation and when an epoch ends. In a distributed run, where a process must not end by
    itself in the middle of a step, that is all: there the weights of all processes are the same.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[Reading, _Step]] = deque()
        self._checked = -1

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sent.clear()
        self._checked = -1

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if trainer.world_size > 1:
            return
        self._sent.append((Reading(loss), _Step.of(trainer, pl_module)))
        while self._sent and self._sent[0][0].arrived:
            reading, step = self._sent.popleft()
            if not reading.is_finite:
                raise step.error(f"the loss is {reading.value:g}")

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._check_weights(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_weights(trainer, pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell what failed in a step as what it is, where that step had weights that are not finite."""
        of_a_step = isinstance(exception, RuntimeError | ValueError | IndexError)
        if of_a_step and not isinstance(exception, DivergedError) and trainer.state.fn == TrainerFn.FITTING:
            self._checked = -1
            self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: Trainer, module: LightningModule) -> None:
        if self._checked == trainer.global_step:
            return
        self._checked = trainer.global_step
        # Processes share their parameters; batch-norm's statistics are each one's own until they are shared.
        held = module.state_dict() if trainer.world_size == 1 else dict(module.named_parameters())
        if (name := not_finite_in(held)) is None:
            return
        for reading, step in self._sent:
            if not reading.is_finite:
                raise step.error(f"the loss is {reading.value:g}")
        raise _Step.of(trainer, module).error(f"weights are not finite ({name})", done=True)
