"""A run of seconds: a drawn setting, a plain trainer, and a callback that looks on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.exact_resume import ExactResume
from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule
from tests.lightning_modules.methods.small import SIZE

STEPS = 2


def setting(**options: Any) -> SettingDataModule:
    photos = SyntheticDataModule("photo", train_count=4, test_count=2, name="photos", size=48)
    art = SyntheticDataModule("painting", train_count=5, test_count=3, name="art", size=48)
    return SettingDataModule(
        [photos], [art], [photos, art], root="files", image_size=SIZE, batch_size=2, steps_per_epoch=STEPS, **options
    )


def fit(
    method: LightningModule,
    root: Path,
    epochs: int,
    *callbacks: Callback,
    resume: Path | None = None,
    data: LightningDataModule | None = None,
    **options: Any,
) -> Trainer:
    """Train on the CPU, on :func:`setting` unless ``data`` is given; ``options`` are the trainer's."""
    trainer = Trainer(
        max_epochs=epochs,
        default_root_dir=root,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **{"accelerator": "cpu", **options},
    )
    trainer.fit(method, datamodule=data or setting(), ckpt_path=resume, weights_only=True)
    return trainer


def last_checkpoint(folder: Path, **options: Any) -> ModelCheckpoint:
    """Writes ``folder/last.ckpt`` after every epoch."""
    return ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False, **options)


M = TypeVar("M", bound=LightningModule)


def whole_and_resumed(
    make: Callable[[], M], root: Path, epochs: int, cut: int, data: LightningDataModule | None = None
) -> tuple[M, M]:
    """A module after a whole run, and after one that stopped after ``cut`` epochs and went on from a file."""

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == cut - 1

    modules: list[M] = []
    for name, stop, resume in (("whole", [], None), ("cut", [Stop()], None), ("cut", [], root / "cut/last.ckpt")):
        torch.manual_seed(5)
        modules.append(make())
        callbacks = ExactResume(), last_checkpoint(root / name), *stop
        fit(modules[-1], root / name, epochs, *callbacks, resume=resume, data=data)
    return modules[0], modules[2]


def weights(method: LightningModule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in method.parameters()]).clone()


class Watch(Callback):
    """Notes what a look at the method gives after every step."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        self.look, self.seen = look, []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.seen.append(self.look(pl_module))
