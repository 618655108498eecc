"""Translators of photos to the target's style, made once and used again."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning import seed_everything

from callbacks.drawing import grid_of, to_picture
from callbacks.exact_resume import AtomicCheckpointIO
from callbacks.warp_pictures import spread
from datamodules.faces import ByteArray
from datamodules.setting import SettingDataModule, UnpairedImages
from experiments.checkpoints import load_weights, read_checkpoint
from experiments.made_once import UNFINISHED, key_of, one_run_at_a_time, trainer_of_its_own
from lightning_modules.translation import Translator
from lightning_modules.translation.training import TranslatorTraining

log = logging.getLogger(__name__)

TRANSLATOR = "translator"
"""Under which a checkpoint says what its translator is like, and before which its tensors' names begin."""
_FACES = 6


@dataclass(frozen=True)
class Translation:
    """How the translators are trained, for methods that need them; the defaults are the paper's.

    Args:
        checkpoint: use the translators of this checkpoint of ours instead of training.
        max_epochs: how often the source is passed over.
        steps_per_epoch: of an epoch; by default one pass over the source.
        batch_size: pairs of a photo and a stylised face in a step.
        learning_rate: Adam's, of generators and discriminators.
        decay_from: share of the run after which it falls along a line, to 0 at the end.
        pool_size: earlier translations that each discriminator's pool holds.
    """

    checkpoint: str | None = None
    max_epochs: int = 200
    steps_per_epoch: int | None = None
    batch_size: int = 1
    learning_rate: float = 2e-4
    decay_from: float = 0.5
    pool_size: int = 50


def provide_translator(
    translator: Translator,
    data: SettingDataModule,
    how: Translation,
    runs: Path,
    seed: int,
    networks: Mapping[str, Any] | None,
    trainer_options: Mapping[str, Any],
    first_process: bool = True,
) -> Path:
    """Give a translator weights trained on the source and the target.

    They are kept under ``runs/translators``, under a key of everything they depend on: source and target files,
    networks, seed, and how they were made; beside them, what they make of a few faces (``translated.png``). A training
    that was killed goes on where it was.

    Args:
        translator: changed in place.
        data: the setting; its source and target are used.
        how: see :class:`Translation`.
        runs: where runs are written.
        seed: of the run.
        networks: the translator's ``class_path`` and ``init_args``, or None for its defaults.
        trainer_options: the run's trainer configuration; devices, precision and the like are taken from it.
        first_process: of a distributed run, whether this is the first. It waits where another run is making the same
            translators, and then uses those.

    Returns:
        The checkpoint the weights are from.

    Raises:
        CheckpointError: ``how.checkpoint`` cannot be used.
    """
    if how.checkpoint:
        path = Path(how.checkpoint)
    else:
        facts = _facts(data, how, networks)
        folder = runs / "translators" / f"{key_of(facts)}-seed{seed}"
        path = folder / "translator.ckpt"
        with one_run_at_a_time(folder, "translators") if first_process else nullcontext():
            if not path.exists():
                log.info("training translators: %d epochs, into %s", how.max_epochs, folder)
                _train(translator, data, how, folder, seed, networks, trainer_options)
    log.info("translating by %s", path)
    load_translator_weights(translator, path)
    # What follows must not depend on whether the translators were made just now or found.
    seed_everything(seed, workers=True, verbose=False)
    return path


def load_translator_weights(translator: Translator, path: str | Path) -> None:
    """Give a translator the weights of a file that :func:`provide_translator` wrote.

    Raises:
        CheckpointError: it is none, or holds other networks.
    """
    load_weights(translator, read_checkpoint(path, TRANSLATOR), path, TRANSLATOR)


def _facts(data: SettingDataModule, how: Translation, networks: Mapping[str, Any] | None) -> dict[str, Any]:
    assert data.target_faces is not None, "methods with translators need a target"
    return {
        "source": data.source_faces.fingerprint(),
        "target": data.target_faces.fingerprint(),
        "networks": networks,
        "how": asdict(how),
        "augmentation": asdict(_images(data, how).data.augmentation),
        "image_size": data.image_size,
    }


def _images(data: SettingDataModule, how: Translation) -> UnpairedImages:
    return UnpairedImages(data, how.batch_size, how.steps_per_epoch)


def _train(
    translator: Translator,
    data: SettingDataModule,
    how: Translation,
    folder: Path,
    seed: int,
    networks: Mapping[str, Any] | None,
    trainer_options: Mapping[str, Any],
) -> None:
    """Train a translator from nothing and write ``folder/translator.ckpt`` and a picture."""
    if trainer_options.get("strategy") == "ddp":
        # A step of the generators leaves the discriminators without a gradient, and the other way round.
        trainer_options = {**trainer_options, "strategy": "ddp_find_unused_parameters_true"}
    trainer = trainer_of_its_own(folder, trainer_options, max_epochs=how.max_epochs)
    seed_everything(seed, workers=True, verbose=False)
    # From the seed alone: not from whatever was drawn before, e.g. a landmarker's weights.
    translator.initialise()
    training = TranslatorTraining(translator, how.learning_rate, how.decay_from, how.pool_size)
    unfinished = folder / UNFINISHED
    started = unfinished if unfinished.exists() else None
    trainer.fit(training, datamodule=_images(data, how), ckpt_path=started, weights_only=True)
    if trainer.is_global_zero:
        draw_translations(translator, data, folder / "translated.png")
        state = {f"{TRANSLATOR}.{name}": value for name, value in translator.state_dict().items()}
        AtomicCheckpointIO().save_checkpoint(
            {"state_dict": state, TRANSLATOR: dict(networks or {})}, folder / "translator.ckpt"
        )
        unfinished.unlink(missing_ok=True)
    trainer.strategy.barrier()


@torch.no_grad()
def draw_translations(translator: Translator, data: SettingDataModule, path: Path) -> None:
    """Write a picture of a few photos and stylised faces, each in the other style and back."""
    device = next(translator.parameters()).device
    assert data.target_faces is not None, "methods with translators need a target"
    photos, stylised = (
        spread(faces, _FACES, data.image_size).images.to(device) for faces in (data.source_faces, data.target_faces)
    )
    rows: list[list[ByteArray]] = []
    for i in range(min(len(photos), len(stylised))):
        done = translator.translate(photos[i : i + 1], stylised[i : i + 1])
        shown = (done.photos, done.to_target, done.photos_again, done.stylised, done.to_source, done.stylised_again)
        rows.append([to_picture(image[0]) for image in shown])
    titles = ["photo", "in the target's style", "and back", "stylised face", "as a photo", "and back"]
    titles[0] = f"SYNTHETIC: {titles[0]}" if data.synthetic else titles[0]
    cv2.imwrite(str(path), grid_of(rows, titles)[:, :, ::-1])
