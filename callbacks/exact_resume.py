"""What a run needs to go on, bit for bit, after it was killed."""

import os
import random
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from datamodules.loading import steps_done
from lightning_modules.finite import DivergedError
from lightning_modules.weights import TRAINING_STATES, not_finite_in, require_finite


class ExactResume(Callback):
    """Seeds the global random generators before every training step, from (seed, step, rank) alone.

    So a step draws the same (dropout, random warps, views) in a resumed run as in one that was never stopped, and each
    process of a distributed run draws its own. Checkpoints hold the seed: the one that torch was last given before the
    run began, e.g. by ``seed_everything``. One without it, of an earlier version, goes on with the new run's.

    The data does not need this: each batch depends on seed and step already.
    """

    def __init__(self) -> None:
        self.seed: int | None = None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict.get("seed")

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seed is None:
            self.seed = int(trainer.strategy.broadcast(torch.initial_seed()))
        _end_epoch(trainer)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert self.seed is not None, "training has started"
        sequence = np.random.SeedSequence([self.seed, steps_done(trainer), trainer.global_rank])
        seed = int(sequence.generate_state(1, np.uint64)[0])
        torch.manual_seed(seed)  # on all devices
        # Nothing here draws from these two; a method of the user's may.
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what is seeded
        random.seed(seed)


def _end_epoch(trainer: Trainer) -> None:
    """Let a run that goes on from an epoch's last step begin the next epoch with its first step.

    Lightning tells that the epoch is over by comparing its steps with those of the next one, which may have more.
    """
    loop = cast(Any, trainer.fit_loop)
    batches = loop.epoch_loop.batch_progress
    if loop.restarted_mid_epoch and loop.epoch_loop.restarted_on_train_batch_end and batches.is_last_batch:
        batches.current.completed = sys.maxsize


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there, so that a kill never leaves half of one.

    What is not finite is neither written nor read: the checkpoint before it stays.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if isinstance(sys.exception(), DivergedError):
            return  # the run is being ended for that: what is saved on the way out would be of no use
        if (name := not_finite_in(checkpoint, TRAINING_STATES)) is not None:
            raise DivergedError.of_file(path, name)
        unfinished = Path(f"{path}.unfinished")
        super().save_checkpoint(checkpoint, unfinished, storage_options)
        os.replace(unfinished, path)  # noqa: PTH105 - the guarantee is os.replace's

    @override
    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        content: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        require_finite(content, path, TRAINING_STATES)
        return content
