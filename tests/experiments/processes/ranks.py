"""A callback with which the processes of a distributed run tell what they have."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override


class RankReport(Callback):
    """Each process writes, under the run's folder, hashes of what it has learned, its scores, and the last step's seed.

    Args:
        folder: under the run's folder.
    """

    def __init__(self, folder: str = "ranks") -> None:
        self.folder = folder

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        method: Any = pl_module
        pseudo = getattr(getattr(method, "pseudo", None), "current", None)
        report = {
            "weights": _hash(method.landmarker.state_dict()),
            "parameters": _hash(dict(method.named_parameters())),
            "pseudo": pseudo and _hash(vars(pseudo)),
            "pseudo_faces": 0 if pseudo is None else len(pseudo.landmarks),
            "optimizers": [_hash(o.state_dict()["state"]) for o in trainer.optimizers],
            "scores": method.scores,
            "seed": torch.initial_seed(),
        }
        folder = Path(trainer.default_root_dir) / self.folder
        folder.mkdir(exist_ok=True)
        (folder / f"{trainer.global_rank}.json").write_text(json.dumps(report))


def _hash(state: Mapping[Any, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items(), key=lambda item: str(item[0])):
        content = _hash(value) if isinstance(value, Mapping) else value
        digest.update(f"{name}:".encode())
        digest.update(value.detach().cpu().numpy().tobytes() if isinstance(value, Tensor) else str(content).encode())
    return digest.hexdigest()[:16]
