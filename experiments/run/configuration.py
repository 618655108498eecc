"""``config.yaml``: what reruns a run. What was derived from other options stays derived from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.errors import UsageError

CONFIGURATION: Final = "config.yaml"
"""Its name in a run's folder."""


def read_configuration(path: Path) -> dict[str, Any]:
    """A run's configuration with every ``${…}`` resolved; of earlier versions, which wrote none, as it is.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")), resolve=True)
    except (OSError, UnicodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path}: found {said}; expected the configuration of a run. Restore it.") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UsageError(f"{path}: found {type(content).__name__}; expected the configuration of a run. Restore it.")
    return {str(name): value for name, value in content.items()}


def with_interpolations(resolved: Any, written: Any) -> Any:
    """A resolved configuration with the ``${…}`` that its values come from in their places.

    So a seed, a place or a learning rate that is given when it is read again reaches all that depends on it.

    Args:
        resolved: nested mappings, lists and plain values.
        written: the same before its interpolations were resolved. Elements that a list has no more are passed over;
            where the two differ otherwise, what is resolved stands.
    """
    if isinstance(written, str) and "${" in written:
        return written
    if isinstance(resolved, Mapping) and isinstance(written, Mapping):
        return {name: with_interpolations(value, written.get(name)) for name, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(written, list):
        left = iter(written)
        return [
            with_interpolations(value, next((one for one in left if _alike(value, one)), None)) for value in resolved
        ]
    return resolved


def _alike(value: Any, written: Any) -> bool:
    """Whether they may be the same element of a list: objects of one class, or else plain values."""
    if not isinstance(value, Mapping) or not isinstance(written, Mapping):
        return True
    return bool(value.get("class_path") == written.get("class_path"))
