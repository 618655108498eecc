"""What may change when a run is gone on with: where and how it runs, and how long; not what it learns, or how."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.errors import UsageError
from experiments.run.configuration import CONFIGURATION, read_configuration

log = logging.getLogger(__name__)

_SAID: Final = (
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.accelerator",
)
"""Options that may change, with a word about it."""
_LEARNING: Final = (
    "seed_everything",
    "model",
    "data",
    "pretraining",
    "translation",
    "optimizer",
    "lr_scheduler",
    "trainer.precision",
    "trainer.gradient_clip_val",
    "trainer.gradient_clip_algorithm",
    "trainer.accumulate_grad_batches",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.reload_dataloaders_every_n_epochs",
    "trainer.sync_batchnorm",
)
"""Options that say what is learned, and how."""
_HARMLESS: Final = ("data.num_workers", "data.eval_batch_size", "data.root", "data.on_error")
"""Of these, what changes nothing that is learned; which faces were read is compared by itself."""
_RATES: Final = ("learning_rate", "gradient_clip_norm", "gradient_clip_val")
"""How the names of options end that may change, with a word about it: what one lowers after a training diverged."""
_SETS: Final = ("data.source", "data.target", "data.tests")
_AVERAGES: Final = ("WeightAverage", "WeightAveraging", "EMAWeightAveraging", "StochasticWeightAveraging")
"""Callbacks that change what a checkpoint's weights are."""
_NAMED: Final = 4
FACES: Final = "faces"
"""In a checkpoint: the faces that it was trained on, by role; earlier versions noted none."""


@dataclass(frozen=True)
class Change:
    """An option that is not what it was.

    Attributes:
        name: dotted, with the places of list elements.
        before: its value in the run's ``config.yaml``.
        now: its value now.
    """

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.before)} and is {_short(self.now)}"

    def within(self, options: tuple[str, ...]) -> bool:
        """Whether it is one of these options, or a part of one."""
        return any(self.name == option or self.name.startswith(f"{option}.") for option in options)


def check_resumed(folder: Path, now: Mapping[str, Any], checkpoint: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Refuse to go on with a run under a configuration that it was not begun with; tell what it takes over.

    Args:
        folder: the run's.
        now: the configuration it is to go on with, resolved.
        checkpoint: to go on from.
        data: the faces it is to learn from and to be tested on, by role, each in a few letters.

    Raises:
        UsageError: it would learn something else or otherwise than until now, or from other faces, or is past the end
            that it is given.
    """
    noted = checkpoint.get(FACES)
    noted = noted if isinstance(noted, Mapping) else {}
    remedy = f"Give what it was begun with ({folder / CONFIGURATION}), or leave RESUME out to begin anew: it is kept."
    if changed := [role for role, faces in noted.items() if data.get(role, faces) != faces]:
        raise UsageError(
            f"{folder}: the faces of {', '.join(changed)} are not those that the run was begun with, by their files' "
            f"names and content. {remedy}"
        )
    done, end = int(checkpoint.get("epoch", -1)) + 1, now["trainer"].get("max_epochs")
    if end is not None and 0 <= end < done:
        raise UsageError(f"{folder}: has done {done} epochs, and trainer.max_epochs is {end}. Give {done} or more.")
    if not (folder / CONFIGURATION).is_file():
        return
    found = list(_changes(read_configuration(folder / CONFIGURATION), now))
    sets = _SETS if noted else ()
    learned = [change for change in found if change.within(_LEARNING) and not change.within(_HARMLESS + sets)]
    wrong = [change for change in learned if not change.name.endswith(_RATES)]
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        said = "; ".join(map(str, wrong[:_NAMED]))
        raise UsageError(f"{folder}: cannot be gone on with as something else: {said}{more}. {remedy}")
    for change in found:
        if change.within(_SAID) or change.name.endswith(_RATES):
            log.warning("%s: goes on with another %s", folder, change)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    yield from _nested("", {**before, "trainer": _trainer(before)}, {**now, "trainer": _trainer(now)})
    averages = [_averages(configuration) for configuration in (before, now)]
    if averages[0] != averages[1]:
        yield Change("model.average (EMA)", *averages)


def _trainer(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Its options but for callbacks: most of them look on, and those that do not are compared by themselves."""
    return {name: value for name, value in configuration["trainer"].items() if name != "callbacks"}


def _averages(configuration: Mapping[str, Any]) -> Any:
    """The callbacks that average weights; None if there is none."""
    callbacks = configuration["trainer"].get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    named = [one for one in callbacks if isinstance(one, Mapping)]
    return [one for one in named if str(one.get("class_path")).rsplit(".", 1)[-1] in _AVERAGES] or None


def _nested(name: str, before: Any, now: Any) -> Iterator[Change]:
    """Values that both have and that differ: other versions of this program have options of their own."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        if before.get("class_path") != now.get("class_path"):
            yield Change(name, before.get("class_path"), now.get("class_path"))
            return
        for key in before:
            if key in now:
                yield from _nested(f"{name}.{key}".lstrip("."), before[key], now[key])
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, pair in enumerate(zip(before, now, strict=True)):
            yield from _nested(f"{name}.{place}", *pair)
    elif before != now and not _same_place(before, now):
        yield Change(name, before, now)


def _same_place(before: Any, now: Any) -> bool:
    """Whether two texts name one file or folder."""
    return isinstance(before, str) and isinstance(now, str) and _place(before) == _place(now)


def _place(name: str) -> Path:
    return Path(name).expanduser().resolve()


def _short(value: Any) -> str:
    """A value as a message shows it."""
    value = value["class_path"] if isinstance(value, Mapping) and "class_path" in value else value
    text = str(value).rsplit(".", 1)[-1] if isinstance(value, str) and "/" not in value else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
