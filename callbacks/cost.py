"""What a run costs: training time and memory, beside its figures."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

_KIBIBYTE = 1 if sys.platform == "darwin" else 1024
"""What ``ru_maxrss`` counts in, in bytes: kibibytes, but bytes on macOS."""


class CostReport(Callback):
    """Writes ``cost.json`` to the run's folder: epochs and steps trained, their time, and the most memory held.

    Time is that of training alone, data loading included, validation not: by the clock, and as CPU time of the process,
    which a busy machine hardly changes. Memory is the process's largest resident set, and what torch held on the GPU.
    A resumed run reports what it did since it was resumed.

    Args:
        path: the file, under the run's folder.
    """

    def __init__(self, path: str = "cost.json") -> None:
        self.path = path
        self.epochs = self.steps = 0
        self.seconds = self.cpu_seconds = 0.0
        self._began = (0.0, 0.0)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = _clocks()

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps += 1
        now = _clocks()
        self.seconds += now[0] - self._began[0]
        self.cpu_seconds += now[1] - self._began[1]
        self._began = now

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = _clocks()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs += 1
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / self.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.report(), indent=2) + "\n")

    def report(self) -> dict[str, float]:
        """What was spent so far."""
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE
        gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "peak_memory_mib": round(resident / 2**20, 1),
            "peak_gpu_memory_mib": round(gpu / 2**20, 1),
        }


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
