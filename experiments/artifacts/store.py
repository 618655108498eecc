"""Artifacts: made by the first run that needs them, under a lock, and kept under a key of all they depend on."""

import contextlib
import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import torch
from filelock import FileLock, Timeout
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ParallelStrategy, Strategy

from callbacks.exact_resume import AtomicCheckpointIO, ExactResume
from callbacks.progress import PhaseProgressBar
from callbacks.stopping import ToldWhenStopped
from experiments.artifacts.pictures import PictureContents, place_for
from experiments.compose import build
from experiments.errors import UsageError

log = logging.getLogger(__name__)

_SHARED_TRAINER_OPTIONS: Final = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "limit_train_batches",
    "enable_progress_bar",
    "log_every_n_steps",
    "deterministic",
)
_UNFINISHED: Final = "last.ckpt"
"""In an artifact's folder: its training so far, saved every epoch."""
_POLL_SECONDS: Final = 5.0
_LAUNCHED_BY_LIGHTNING: Final = "WARPMARK_LAUNCHED_BY_LIGHTNING"
"""Set in the environment that Lightning's own launcher hands to the further processes that it starts."""

Decision = Literal["wait", "use", "make", "failed"]


@dataclass(frozen=True)
class RunContext:
    """What an artifact's making takes from the run that needs it.

    Attributes:
        runs: folder under which runs, and artifacts, are written.
        seed: of the run.
        trainer_options: the run's trainer configuration: devices, precision and the like are taken from it. A strategy
            may be given by ``class_path`` and ``init_args``.
        strategy: the run's; its processes share one artifact.
        contents: of picture files.
    """

    runs: Path
    seed: int
    trainer_options: Mapping[str, Any]
    strategy: Strategy
    contents: PictureContents = field(default_factory=PictureContents)

    def trainer(self, folder: Path, **options: Any) -> Trainer:
        """A trainer for an artifact, which saves its state every epoch, so that a killed training goes on exactly.

        Args:
            folder: where it writes.
            options: further ones of the trainer, over those of the run.
        """
        names = [name for name in _SHARED_TRAINER_OPTIONS if name in self.trainer_options]
        shared: dict[str, Any] = {name: self.trainer_options[name] for name in names}
        if isinstance(shared.get("strategy"), Mapping):
            # The run's own belongs to its trainer and cannot be given to another.
            shared["strategy"] = build(Strategy, shared["strategy"], "strategy")
        without_bar = shared.get("enable_progress_bar") is False
        last = ModelCheckpoint(
            folder, filename=Path(_UNFINISHED).stem, enable_version_counter=False, save_on_train_epoch_end=True
        )
        told = ToldWhenStopped(folder / _UNFINISHED, "The same command goes on from there.")
        return Trainer(
            **{**shared, **options},
            default_root_dir=folder,
            callbacks=[last, ExactResume(), told, *([] if without_bar else [PhaseProgressBar()])],
            plugins=[AtomicCheckpointIO()],
            logger=CSVLogger(folder, name="csv"),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            enable_model_summary=False,
        )

    def seed_generators(self) -> None:
        """Start all random generators from the run's seed, so that what follows does not depend on what came before."""
        seed_everything(self.seed, workers=True, verbose=False)

    def fit(self, trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
        """Train; go on where an earlier training in the trainer's folder was killed."""
        unfinished = Path(trainer.default_root_dir) / _UNFINISHED
        started = unfinished if unfinished.exists() else None
        trainer.fit(module, datamodule=data, ckpt_path=started, weights_only=True)


class Recipe(ABC):
    """How one artifact is made, and what it depends on."""

    what: ClassVar[str]
    """What it is called in messages."""
    place: ClassVar[str]
    """Its folder under ``runs``."""
    file: ClassVar[str]
    """The file that is there once it is made."""

    @property
    def prefix(self) -> str:
        """Put before the key in the name of the artifact's folder."""
        return ""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Everything it depends on but the seed: plain values, nested at will."""

    def pictures(self) -> list[Path]:
        """The files whose content it depends on, beside the facts; none by default."""
        return []

    @abstractmethod
    def make(self, folder: Path, context: RunContext) -> None:
        """Make it and write :attr:`file`; all processes of a distributed run do so together."""


def provide(recipe: Recipe, context: RunContext) -> Path:
    """The artifact's file; made now if it is not there, and waited for where another run is making it.

    Of a distributed run the first process decides, holding the lock, and tells the others, so that all make it or none.

    Raises:
        UsageError: the first process could not decide; it says why.
    """
    folder = _folder(recipe, context)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / recipe.file
    with _decided(path, recipe.what, context.strategy) as decision:
        if decision == "make":
            log.info("making the %s, in %s", recipe.what, folder)
            recipe.make(folder, context)
            if context.strategy.is_global_zero:
                (folder / _UNFINISHED).unlink(missing_ok=True)
    log.info("using the %s in %s", recipe.what, path)
    return path


def _folder(recipe: Recipe, context: RunContext) -> Path:
    """Under a key of all that it depends on; of pictures those facts know names and sizes alone."""
    facts, files = dict(recipe.facts()), recipe.pictures()

    def under(facts: Mapping[str, Any]) -> Path:
        return context.runs / recipe.place / f"{recipe.prefix}{key_of(facts)}-seed{context.seed}"

    contents = context.contents.of(files)
    return place_for(under(facts), recipe.file, files, contents, lambda: under({**facts, "pictures": contents}))


def key_of(facts: Mapping[str, Any]) -> str:
    """A short name for plain values, nested at will; another one for others."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _decided(path: Path, what: str, strategy: Strategy) -> Iterator[Decision]:
    """What all processes are to do about an artifact; the first one holds its lock meanwhile."""
    together = _are_together(strategy)
    if not strategy.is_global_zero:
        yield _heard(strategy) if together else _existing(path)
        return
    tell: Callable[[Decision], object] = strategy.broadcast if together else lambda decision: None
    lock = FileLock(path.with_name("lock"))
    try:
        if not _acquired(lock, 0):
            log.info("waiting for another run, which is making the same %s in %s", what, path.parent)
            # The others wait with this process; none longer at a time than a process group waits for a message.
            tell("wait")
            while not _acquired(lock, _POLL_SECONDS):
                tell("wait")
    except BaseException:
        tell("failed")
        raise
    try:
        decision = _existing(path)
        tell(decision)
        yield decision
    finally:
        lock.release()


def _acquired(lock: FileLock, seconds: float) -> bool:
    """Try for so long to get a lock; whether it is held now."""
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=seconds)
    return lock.is_locked


def _existing(path: Path) -> Decision:
    return "use" if path.exists() else "make"


def _heard(strategy: Strategy) -> Decision:
    """What the first process says, once it has the lock."""
    decision: Decision = "wait"
    while decision == "wait":
        decision = strategy.broadcast(decision)
    if decision == "failed":
        raise UsageError("the first process of this run ended; its message says why.")
    return decision


def _are_together(strategy: Strategy) -> bool:
    """Whether the run's processes are all there and can be spoken to; forms their group if they are.

    Lightning's own launcher starts the further processes when the first one fits something for the first time. Until
    then the first is alone; those that it starts run the program from its beginning, find what the first one found, and
    meet it in that fit.
    """
    if not isinstance(strategy, ParallelStrategy) or strategy.world_size == 1:
        return False
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return True
    environment = strategy.cluster_environment
    if environment is None or not environment.creates_processes_externally:
        os.environ[_LAUNCHED_BY_LIGHTNING] = "1"
        return False
    if _LAUNCHED_BY_LIGHTNING in os.environ:
        return False
    strategy.setup_environment()
    return True
