"""The numbers of a configuration as a whole: none is infinite or NaN, and few can be negative."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from experiments.errors import UsageError

_OURS: Final = ("datamodules.", "lightning_modules.", "callbacks.")
"""Rooms whose classes' arguments are looked at; a user's own classes say themselves what they take."""
_GROUPS: Final = ("model", "data", "pretraining", "translation")
_SIGNED: Final = ("mean", "std", "milestones")
"""Names of arguments that may be negative: means of distributions and colours; and what their classes check."""
_COUNTS: Final = (
    *("image_size", "stride", "coarsest", "feature_dim", "embed_dim", "num_layers", "num_heads", "feedforward_dim"),
    *("patch_size", "width", "stacks", "nodes", "components", "levels"),
)
"""Names of arguments of which 0 would leave nothing."""
_OF_THE_TRAINER: Final = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0}
"""Least values of options that Lightning takes as they are."""


def require_numbers(config: Mapping[str, Any]) -> None:
    """Refuse numbers that no class takes: infinite or negative ones, and no layers, by the option's full name.

    Args:
        config: of a run: plain values, nested; classes as ``class_path`` and ``init_args``.

    Raises:
        UsageError: it names the option.
    """
    _require("seed_everything", config.get("seed_everything"), 0)
    for option, least in _OF_THE_TRAINER.items():
        _require(f"trainer.{option}", (config.get("trainer") or {}).get(option), least)
    for group in _GROUPS:
        for name, key, value in _numbers(config.get(group), group):
            _require(name, value, -math.inf if key in _SIGNED else int(key in _COUNTS and isinstance(value, int)))


def in_full(message: str, config: Mapping[str, Any]) -> str:
    """A message that begins with the name of an argument, with the option's full name where only one has that value.

    Args:
        message: ``NAME: found VALUE, expected …``.
        config: see :func:`require_numbers`.
    """
    said = re.match(r"(\w+): found (.*?), expected ", message)
    if said is None:
        return message
    held = [path for path, value in _values({group: config.get(group) for group in _GROUPS}) if _is(path, value, said)]
    return f"--{held[0]}{message[said.end(1) :]}" if len(held) == 1 else message


def _is(path: str, value: Any, said: re.Match[str]) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, int | float) for end in value)
    shown = f"{value[0]:g} to {value[1]:g}" if pair else str(value)
    if isinstance(value, int | float) and re.fullmatch(r"-?[\d.e+-]+", said[2]):
        shown = said[2] if float(said[2]) == value else ""  # an int that the class has as a float
    return path.rsplit(".", 1)[-1] == said[1] and shown == said[2]


def _values(config: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield f"{within}{key}", value
        if isinstance(value, Mapping):
            yield from _values(value, f"{within}{key}.")


def _require(name: str, value: Any, least: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if not math.isfinite(value):
        raise UsageError(f"--{name}: found {value:g}, expected a finite number.")
    if value < least:
        raise UsageError(f"--{name}: found {value:g}, expected {least:g} or more.")


def _numbers(value: Any, name: str, key: str = "") -> Iterator[tuple[str, str, float]]:
    """Full name, last part of the name, and value of each number."""
    if isinstance(value, Mapping):
        if not str(value.get("class_path", _OURS[0])).startswith(_OURS):
            return
        for part, inner in value.items():
            yield from _numbers(inner, f"{name}.{part}", str(part))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, name, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, key, value
