"""The start of an adaptation: a landmarker trained on the source, made once and used again."""

import logging
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning import seed_everything

from datamodules.setting import SettingDataModule
from experiments.checkpoints import load_weights, read_checkpoint
from experiments.made_once import UNFINISHED, key_of, one_run_at_a_time, trainer_of_its_own
from lightning_modules.methods.base import FaceMethod
from lightning_modules.methods.supervised import Supervised

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretraining:
    """How the start is made: supervised, on the source's labels.

    Args:
        checkpoint: start from this checkpoint of ours instead of training.
        max_epochs: passes over the source.
        learning_rate: AdamW's peak learning rate.
        weight_decay: AdamW's.
        gradient_clip_norm: longest gradient; None for no limit.
    """

    checkpoint: str | None = None
    max_epochs: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_clip_norm: float | None = 1.0


def provide_pretrained(
    method: FaceMethod,
    data: SettingDataModule,
    how: Pretraining,
    runs: Path,
    seed: int,
    landmarker_config: Mapping[str, Any],
    trainer_options: Mapping[str, Any],
    first_process: bool = True,
) -> Path | None:
    """Give the method's landmarker weights trained on the source, if the method needs them.

    The weights are kept under ``runs/pretrained``, under a key of everything they depend on: source files, landmarker,
    seed, and how they were made. A pretraining that was killed goes on where it was.

    Args:
        method: its landmarker is changed in place.
        data: the setting; only its source is used.
        how: see :class:`Pretraining`.
        runs: where runs are written.
        seed: of the run.
        landmarker_config: the landmarker's ``class_path`` and ``init_args``.
        trainer_options: the run's trainer configuration; devices, precision and the like are taken from it. A strategy
            may be given by ``class_path`` and ``init_args``.
        first_process: of a distributed run, whether this is the first. It waits where another run is making the same
            start, and then uses that.

    Returns:
        The checkpoint the landmarker's weights are from, or None if the method needs no start.

    Raises:
        CheckpointError: ``how.checkpoint`` cannot be used.
    """
    if not method.needs_pretraining:
        return None
    if how.checkpoint:
        path = Path(how.checkpoint)
    else:
        name = re.sub(r"\W+", "", str(landmarker_config["class_path"]).rsplit(".", 1)[-1]).lower()
        folder = runs / "pretrained" / f"{name}-{_key(data, how, landmarker_config)}-seed{seed}"
        path = folder / "landmarker.ckpt"
        with one_run_at_a_time(folder, "start") if first_process else nullcontext():
            if not path.exists():
                log.info("pretraining on the source: %d epochs, into %s", how.max_epochs, folder)
                _pretrain(method, data, how, folder, seed, trainer_options)
    log.info("starting from the landmarker in %s", path)
    load_weights(method.landmarker, read_checkpoint(path), path)
    # What follows must not depend on whether the start was made just now or found.
    seed_everything(seed, workers=True, verbose=False)
    return path


def _key(data: SettingDataModule, how: Pretraining, landmarker_config: Mapping[str, Any]) -> str:
    facts = {
        "source": data.source_faces.fingerprint(),
        "landmarker": landmarker_config,
        "how": asdict(how),
        "augmentation": asdict(data.augmentation),
        "batch_size": data.batch_size,
        "steps_per_epoch": data.steps_per_epoch,
        "image_size": data.image_size,
    }
    return key_of(facts)


def _pretrain(
    method: FaceMethod,
    data: SettingDataModule,
    how: Pretraining,
    folder: Path,
    seed: int,
    trainer_options: Mapping[str, Any],
) -> None:
    """Train the method's landmarker on the source and write ``folder/landmarker.ckpt``."""
    trainer = trainer_of_its_own(
        folder, trainer_options, max_epochs=how.max_epochs, gradient_clip_val=how.gradient_clip_norm
    )
    supervised = Supervised(method.landmarker, how.learning_rate, weight_decay=how.weight_decay)
    supervised.landmarker_spec = method.landmarker_spec
    supervised.phase_name = "pretraining"
    seed_everything(seed, workers=True, verbose=False)
    unfinished = folder / UNFINISHED
    trainer.fit(supervised, datamodule=data, ckpt_path=unfinished if unfinished.exists() else None, weights_only=True)
    trainer.save_checkpoint(folder / "landmarker.ckpt", weights_only=True)
