"""What a run costs: training time and memory, beside its scores."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import torch
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

_COUNTED: Final = ("epochs", "steps", "seconds", "cpu_seconds")


class CostReport(Callback):
    """Writes ``cost.json`` to the run's folder: epochs and steps trained, their time, and the most memory held.

    Time is that of training alone, data loading included, validation not: by the clock, and as CPU time of the process,
    which other processes hardly change. Memory is the process's largest resident set (left out on Windows, where Python
    has no module ``resource``) and the most that torch held on the GPU. A resumed run goes on counting from what its
    checkpoint holds; memory is that of its last process.

    Args:
        path: the file, under the run's folder.
    """

    def __init__(self, path: str = "cost.json") -> None:
        self.path = path
        self.epochs = self.steps = 0
        self.seconds = self.cpu_seconds = 0.0
        self._began = (0.0, 0.0)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTED}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update({name: state_dict[name] for name in _COUNTED if name in state_dict})

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
        report = {
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
        }
        resident = largest_resident_set()
        if resident is not None:
            report["peak_memory_mib"] = round(resident / 2**20, 1)
        gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {**report, "peak_gpu_memory_mib": round(gpu / 2**20, 1)}


def largest_resident_set() -> int | None:
    """The most memory that this process has held, in bytes; None on a platform without Python's ``resource``."""
    try:
        import resource
    except ImportError:
        return None
    # Kibibytes, but bytes on macOS (getrusage(2)).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
