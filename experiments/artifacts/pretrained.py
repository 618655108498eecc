"""The start of an adaptation: a landmarker pretrained on the source."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.ranges import above, at_least
from datamodules.setting import SettingDataModule
from experiments.artifacts.pictures import pictures_of
from experiments.artifacts.store import Recipe, RunContext, provide
from experiments.checkpoints import load_start, tell_origin
from lightning_modules.methods.base import FaceMethod
from lightning_modules.methods.supervised import Supervised


@dataclass(frozen=True)
class Pretraining:
    """How the start is made: supervised, on the source's labels.

    Args:
        checkpoint: start from this checkpoint of ours, or from shipped weights by name, instead of training.
        max_epochs: passes over the source.
        learning_rate: AdamW's peak learning rate.
        weight_decay: AdamW's.
        gradient_clip_norm: longest gradient; None for no limit.
        milestones: epochs after which the learning rate, constant until then, falls to a tenth; by default it rises
            and falls once, over all of them.
        batch_size: photos per step and process; the run's own if None.
    """

    checkpoint: str | None = None
    max_epochs: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_clip_norm: float | None = 1.0
    milestones: Sequence[int] = ()
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of their ranges.

        Raises:
            RangeError: it names the first.
        """
        at_least(1, max_epochs=self.max_epochs, batch_size=self.batch_size)
        above(0, learning_rate=self.learning_rate, gradient_clip_norm=self.gradient_clip_norm)
        at_least(0, weight_decay=self.weight_decay)
        for milestone in self.milestones:
            at_least(1, milestones=milestone)


@dataclass
class Start(Recipe):
    """A landmarker trained on the source, as a file that is made once, see :func:`pretrained_start`."""

    what, place, file = "pretrained start", "pretrained", "landmarker.ckpt"

    method: FaceMethod
    data: SettingDataModule
    how: Pretraining
    landmarker_config: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        """The landmarker's name."""
        return re.sub(r"\W+", "", str(self.landmarker_config["class_path"]).rsplit(".", 1)[-1]).lower() + "-"

    def facts(self) -> Mapping[str, Any]:
        """Source, landmarker, augmentation, and how long it trains on what."""
        data = self.data
        return {
            "source": data.source_faces.fingerprint(),
            "landmarker": self.landmarker_config,
            "how": asdict(self.how),
            "augmentation": asdict(data.augmentation),
            "batch_size": self.how.batch_size or data.batch_size,
            "steps_per_epoch": data.steps_per_epoch,
            "image_size": data.image_size,
        }

    def pictures(self) -> list[Path]:
        """The source's."""
        return pictures_of([self.data.source_faces])

    def make(self, folder: Path, context: RunContext) -> None:
        """Train the method's landmarker on the source."""
        how, supervised = self.how, self.learning()
        trainer = context.trainer(folder, max_epochs=how.max_epochs, gradient_clip_val=how.gradient_clip_norm)
        context.seed_generators()
        data = copy.copy(self.data)
        data.batch_size = how.batch_size or data.batch_size
        context.fit(trainer, supervised, data)
        trainer.save_checkpoint(folder / self.file, weights_only=True)

    def learning(self) -> Supervised:
        """How the method's landmarker learns from the source."""
        how, method = self.how, self.method
        supervised = Supervised(
            method.landmarker, how.learning_rate, weight_decay=how.weight_decay, milestones=how.milestones
        )
        supervised.landmarker_spec, supervised.cuda_graphs = method.landmarker_spec, method.cuda_graphs
        supervised.phase_name = "pretraining"
        return supervised


def pretrained_start(
    method: FaceMethod,
    data: SettingDataModule,
    how: Pretraining,
    landmarker_config: Mapping[str, Any],
    context: RunContext,
) -> Path | None:
    """Give the method's landmarker weights trained on the source, if the method needs them.

    They are kept under ``runs/pretrained``, and used again by runs with the same source, landmarker, seed and training.

    Args:
        method: its landmarker is changed in place.
        data: the setting; only its source is used.
        how: see :class:`Pretraining`.
        landmarker_config: the landmarker's ``class_path`` and ``init_args``.
        context: of the run.

    Returns:
        The checkpoint the landmarker's weights are from, or None if the method needs no start.

    Raises:
        CheckpointError: ``how.checkpoint`` cannot be used.
    """
    if not method.needs_pretraining:
        return None
    path = Path(how.checkpoint) if how.checkpoint else provide(Start(method, data, how, landmarker_config), context)
    tell_origin(load_start(method.landmarker, landmarker_config, path), path)
    # What follows must not depend on whether the start was made just now or found.
    context.seed_generators()
    return path
