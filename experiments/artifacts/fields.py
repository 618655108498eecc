"""Warping fields that are learned on data of their own: AutoToon on pairs, CariGeoGAN on shapes."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datamodules.datasets.pairs import PairBatch
from experiments.artifacts.store import Recipe, RunContext, provide
from lightning_modules.training import TrainingModule
from lightning_modules.warping.fields.autotoon import AutoToon, save_field
from lightning_modules.warping.fields.carigeogan import CariGeoGAN
from lightning_modules.warping.fields.training import AutoToonTraining, CariGeoGANTraining, Steps


@dataclass(frozen=True)
class FieldTraining:
    """How a field is trained.

    Args:
        max_epochs: how many times as many steps.
        steps_per_epoch: after which its training so far is saved.
        batch_size: pairs, or shapes of either kind, in a step.
        learning_rate: Adam's; the field's own if None.
    """

    max_epochs: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float | None = None

    @property
    def rate(self) -> dict[str, float]:
        """The learning rate as an argument, where it is given."""
        return {} if self.learning_rate is None else {"learning_rate": self.learning_rate}


@dataclass
class _Field(Recipe):
    """What both kinds share."""

    place, file = "fields", "field.ckpt"
    kind: ClassVar[type[nn.Module]]

    options: Mapping[str, Any]
    how: FieldTraining

    @property
    def prefix(self) -> str:
        """The field's name."""
        return f"{self.kind.__name__.lower()}-"

    @abstractmethod
    def training(self) -> TrainingModule:
        """A new network on its data."""

    def make(self, folder: Path, context: RunContext) -> None:
        """Train a new network."""
        # The networks come from the seed alone, not from whatever was drawn before.
        context.seed_generators()
        module = self.training()
        trainer = context.trainer(folder, max_epochs=self.how.max_epochs, **_unused_parameters(context))
        context.fit(trainer, module, Steps(self.how.steps_per_epoch))
        if trainer.is_global_zero:
            save_field(module.network, folder / self.file)  # type: ignore[arg-type]  # it is a network
        trainer.strategy.barrier()


@dataclass
class _AutoToon(_Field):
    what, kind = "field of AutoToon", AutoToon

    pairs: PairBatch

    def facts(self) -> Mapping[str, Any]:
        """Network, pairs, and how long it trains on them."""
        return {"network": dict(self.options), "pairs": _fingerprint(self.pairs), "how": asdict(self.how)}

    def training(self) -> AutoToonTraining:
        """Of a new AutoToon."""
        network = AutoToon(**self.options, trainable=True)
        return AutoToonTraining(network, self.pairs, self.how.batch_size, **self.how.rate)


@dataclass
class _CariGeoGAN(_Field):
    what, kind = "field of CariGeoGAN", CariGeoGAN

    photos: Tensor
    caricatures: Tensor

    def facts(self) -> Mapping[str, Any]:
        """Network, shapes, and how long it trains on them."""
        shapes = [_digest(self.photos), _digest(self.caricatures)]
        return {"network": dict(self.options), "shapes": shapes, "how": asdict(self.how)}

    def training(self) -> CariGeoGANTraining:
        """Of a new CariGeoGAN, whose shape models are taken from all shapes."""
        network = CariGeoGAN(**self.options).fit_shapes(self.photos, self.caricatures)
        return CariGeoGANTraining(network, self.photos, self.caricatures, self.how.batch_size, **self.how.rate)


def trained_autotoon(pairs: PairBatch, how: FieldTraining, context: RunContext, **options: Any) -> Path:
    """The weights of an :class:`AutoToon` trained on pairs.

    They are kept under ``runs/fields``, and used again by runs with the same pairs, network, seed and training.

    Args:
        pairs: to learn from.
        how: see :class:`FieldTraining`.
        context: of the run.
        options: of the network.

    Returns:
        The file, to be given as the network's ``weights``.
    """
    return provide(_AutoToon(options, how, pairs), context)


def trained_carigeogan(
    photos: Tensor, caricatures: Tensor, how: FieldTraining, context: RunContext, **options: Any
) -> Path:
    """The weights of a :class:`CariGeoGAN` trained on unpaired shapes; see :func:`trained_autotoon`.

    Args:
        photos: their landmarks, any frame, shape ``(N, 68, 2)``.
        caricatures: theirs, shape ``(M, 68, 2)``.
        how: see :class:`FieldTraining`.
        context: of the run.
        options: of the network.

    Raises:
        ValueError: there are not more shapes of either kind than components.
    """
    return provide(_CariGeoGAN(options, how, photos, caricatures), context)


def _unused_parameters(context: RunContext) -> dict[str, str]:
    """A step of generators leaves discriminators without a gradient, which plain ddp does not expect."""
    plain = context.trainer_options.get("strategy") == "ddp"
    return {"strategy": "ddp_find_unused_parameters_true"} if plain else {}


def _fingerprint(pairs: PairBatch) -> str:
    tensors = (pairs.photos, pairs.photo_landmarks, pairs.caricatures, pairs.caricature_landmarks)
    return "-".join(_digest(tensor) for tensor in tensors)


def _digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().to(torch.float32).contiguous()
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:12]
