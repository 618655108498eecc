"""What a run needs to go on, bit for bit, after it was killed."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override


class ExactResume(Callback):
    """Keeps the states of the random generators in the checkpoint, and sets them when training goes on.

    The data needs none of them (each batch depends on seed and step alone); dropout and random warps do.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    @override
    def state_dict(self) -> dict[str, Any]:
        kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the one libraries draw from
        return {
            "torch": torch.get_rng_state(),
            # This process's device. All processes of a distributed run draw alike, so one state serves them all.
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
            "python": _listed(random.getstate()),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restored is None:
            return
        torch.set_rng_state(self._restored["torch"].cpu())
        if self._restored["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._restored["cuda"].cpu())
        kind, keys, position, has_gauss, cached = self._restored["numpy"]
        np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        random.setstate(_tupled(self._restored["python"]))
        self._restored = None


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there, so that a kill never leaves half of one."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        unfinished = Path(f"{path}.unfinished")
        super().save_checkpoint(checkpoint, unfinished, storage_options)
        os.replace(unfinished, path)  # noqa: PTH105 - the guarantee is os.replace's
