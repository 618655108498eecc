"""Translators of photos to the target's style, for the methods that learn from translated photos."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from callbacks.drawing import SYNTHETIC, save_images
from callbacks.exact_resume import AtomicCheckpointIO
from callbacks.warp_pictures import spread
from datamodules.ranges import above, at_least, shares
from datamodules.setting import SettingDataModule, UnpairedImages
from experiments.artifacts.pictures import pictures_of
from experiments.artifacts.store import Recipe, RunContext, provide
from experiments.checkpoints import load_weights, read_checkpoint
from lightning_modules.translation import Translator
from lightning_modules.translation.training import TranslatorTraining

_TRANSLATOR = "translator"
"""Key of the translator's specification in a checkpoint, and prefix of its tensors' names."""
_FACES = 6


@dataclass(frozen=True)
class Translation:
    """How translators are trained, for methods that need them; the defaults are the paper's (Zhu et al., ICCV 2017).

    Args:
        checkpoint: use the translators of this checkpoint of ours instead of training.
        max_epochs: passes over the source.
        steps_per_epoch: of an epoch; by default one pass over the source.
        batch_size: pairs of a photo and a stylised face in a step.
        learning_rate: Adam's, of generators and discriminators.
        decay_from: share of the run after which it falls linearly, to 0 at the end.
        pool_size: earlier translations that each discriminator's pool holds.
    """

    checkpoint: str | None = None
    max_epochs: int = 200
    steps_per_epoch: int | None = None
    batch_size: int = 1
    learning_rate: float = 2e-4
    decay_from: float = 0.5
    pool_size: int = 50

    def __post_init__(self) -> None:
        """Refuse numbers out of their ranges.

        Raises:
            RangeError: it names the first.
        """
        at_least(1, max_epochs=self.max_epochs, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)
        above(0, learning_rate=self.learning_rate)
        shares(decay_from=self.decay_from)
        at_least(0, pool_size=self.pool_size)


@dataclass
class _Translators(Recipe):
    what, place, file = "translators", "translators", "translator.ckpt"

    translator: Translator
    data: SettingDataModule
    how: Translation
    networks: Mapping[str, Any] | None

    @property
    def _images(self) -> UnpairedImages:
        return UnpairedImages(self.data, self.how.batch_size, self.how.steps_per_epoch)

    def facts(self) -> Mapping[str, Any]:
        """Source and target, networks, augmentation, and how long they train."""
        assert self.data.target_faces is not None, "methods with translators need a target"
        return {
            "source": self.data.source_faces.fingerprint(),
            "target": self.data.target_faces.fingerprint(),
            "networks": self.networks,
            "how": asdict(self.how),
            "augmentation": asdict(self._images.data.augmentation),
            "image_size": self.data.image_size,
        }

    def pictures(self) -> list[Path]:
        """Those of source and target."""
        return pictures_of([self.data.source_faces, self.data.target_faces])

    def make(self, folder: Path, context: RunContext) -> None:
        """Train the translators from nothing; a picture shows what they make of a few faces."""
        how = self.how
        # A step of the generators leaves the discriminators without a gradient, and the other way round.
        plain = context.trainer_options.get("strategy") == "ddp"
        unused = {"strategy": "ddp_find_unused_parameters_true"} if plain else {}
        trainer = context.trainer(folder, max_epochs=how.max_epochs, **unused)
        # The networks come from the seed alone, not from whatever was drawn before, e.g. a landmarker's weights.
        context.seed_generators()
        self.translator.initialise()
        training = TranslatorTraining(self.translator, how.learning_rate, how.decay_from, how.pool_size)
        context.fit(trainer, training, self._images)
        if trainer.is_global_zero:
            draw_translations(self.translator, self.data, folder / "translated.png")
            state = {f"{_TRANSLATOR}.{name}": value for name, value in self.translator.state_dict().items()}
            content = {"state_dict": state, _TRANSLATOR: dict(self.networks or {})}
            AtomicCheckpointIO().save_checkpoint(content, folder / self.file)
        trainer.strategy.barrier()


def trained_translator(
    translator: Translator,
    data: SettingDataModule,
    how: Translation,
    networks: Mapping[str, Any] | None,
    context: RunContext,
) -> Path:
    """Give a translator weights trained on the source and the target.

    They are kept under ``runs/translators``, and used again by runs with the same faces, networks, seed and training.

    Args:
        translator: changed in place.
        data: the setting; its source and target are used.
        how: see :class:`Translation`.
        networks: the translator's ``class_path`` and ``init_args``, or None for its defaults.
        context: of the run.

    Returns:
        The checkpoint the weights are from.

    Raises:
        CheckpointError: ``how.checkpoint`` cannot be used.
    """
    path = Path(how.checkpoint) if how.checkpoint else provide(_Translators(translator, data, how, networks), context)
    load_translator_weights(translator, path)
    # What follows must not depend on whether the translators were made just now or found.
    context.seed_generators()
    return path


def load_translator_weights(translator: Translator, path: str | Path) -> None:
    """Give a translator the weights of a ``translator.ckpt``.

    Raises:
        CheckpointError: it is none, or holds other networks.
    """
    load_weights(translator, read_checkpoint(path, _TRANSLATOR), path, _TRANSLATOR)


@torch.no_grad()
def draw_translations(translator: Translator, data: SettingDataModule, path: Path) -> None:
    """Write a picture of a few photos and stylised faces, each in the other style and back."""
    device = next(translator.parameters()).device
    assert data.target_faces is not None, "methods with translators need a target"
    photos, stylised = (
        spread(faces, _FACES, data.image_size).images.to(device) for faces in (data.source_faces, data.target_faces)
    )
    rows = []
    for i in range(min(len(photos), len(stylised))):
        done = translator.translate(photos[i : i + 1], stylised[i : i + 1])
        shown = (done.photos, done.to_target, done.photos_again, done.stylised, done.to_source, done.stylised_again)
        rows.append([image[0] for image in shown])
    titles = ["photo", "in the target's style", "and back", "stylised face", "as a photo", "and back"]
    save_images(path, rows, titles, SYNTHETIC if data.synthetic else None)
