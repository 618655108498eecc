"""What several runs use and the first of them makes: a key of all it depends on, a lock, a trainer of its own."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from jsonargparse import ArgumentParser
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import Strategy

from callbacks.exact_resume import AtomicCheckpointIO, ExactResume
from callbacks.progress import PhaseProgressBar

log = logging.getLogger(__name__)

_SHARED_TRAINER_OPTIONS = (
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
UNFINISHED = "last.ckpt"
"""In the folder of what is made: where it stands, epoch by epoch."""


def key_of(facts: Mapping[str, Any]) -> str:
    """A short name for plain values, nested at will; another one for others."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@contextmanager
def one_run_at_a_time(folder: Path, what: str) -> Iterator[None]:
    """Make a folder and hold its lock; wait where another run holds it (``what`` it is making, for the message)."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another run, which is making the same %s in %s", what, folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def trainer_of_its_own(folder: Path, trainer_options: Mapping[str, Any], **options: Any) -> Trainer:
    """A trainer that writes ``folder/last.ckpt`` every epoch, from which a killed run goes on exactly.

    Args:
        folder: where it writes.
        trainer_options: the run's trainer configuration; devices, precision and the like are taken from it. A strategy
            may be given by ``class_path`` and ``init_args``.
        options: further ones of the trainer, over those.
    """
    shared = {name: trainer_options[name] for name in _SHARED_TRAINER_OPTIONS if name in trainer_options}
    if isinstance(shared.get("strategy"), Mapping):
        shared["strategy"] = _strategy(shared["strategy"])
    without_bar = shared.get("enable_progress_bar") is False
    last = ModelCheckpoint(
        folder, filename=Path(UNFINISHED).stem, enable_version_counter=False, save_on_train_epoch_end=True
    )
    return Trainer(
        **{**shared, **options},
        default_root_dir=folder,
        callbacks=[last, ExactResume(), *([] if without_bar else [PhaseProgressBar()])],
        plugins=[AtomicCheckpointIO()],
        logger=CSVLogger(folder, name="csv"),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        enable_model_summary=False,
    )


def _strategy(spec: Mapping[str, Any]) -> Strategy:
    """A strategy of this trainer's own: one that belongs to a trainer cannot be given to another."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Strategy, "strategy")
    return cast(Strategy, parser.instantiate_classes(parser.parse_object({"strategy": dict(spec)})).strategy)
