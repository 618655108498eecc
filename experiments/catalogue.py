"""What can be chosen: one YAML file per setting, method, landmarker, profile and grid, one module per command."""

import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from experiments import commands
from experiments.errors import UsageError, nearest

_ROOT = Path(__file__).resolve().parents[1]
CONFIGS: Final = _ROOT / "configs"
BASE: Final = CONFIGS / "base.yaml"
FOLDERS: Final = {
    "setting": CONFIGS / "settings",
    "method": CONFIGS / "methods",
    "landmarker": CONFIGS / "landmarkers",
    "profile": CONFIGS / "profiles",
    "grid": _ROOT / "experiments" / "grids",
}


def names(kind: str) -> list[str]:
    """What can be chosen of a kind: ``setting``, ``method``, ``landmarker``, ``profile`` or ``grid``."""
    return sorted(path.stem for path in FOLDERS[kind].glob("*.yaml") if "." not in path.stem)


def command_names() -> list[str]:
    """Our commands, as they are typed; each is the function of that name in a module of :mod:`experiments.commands`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))


def file_of(kind: str, name: str) -> Path:
    """The YAML file of a choice.

    Raises:
        UsageError: there is no such choice; the message suggests the nearest.
    """
    if name not in names(kind):
        raise UsageError(f"{kind.upper()}={name} is not known. {nearest(name, names(kind))}")
    return FOLDERS[kind] / f"{name}.yaml"


def config_files(choices: Mapping[str, str]) -> list[Path]:
    """The configuration files of choices, later ones to be laid over earlier ones.

    A choice may come with a delta for a profile, ``NAME.PROFILE.yaml``, e.g. the light form of a landmarker.

    Args:
        choices: names by kind, ``profile`` among them, in the order in which their files are laid over each other.

    Raises:
        UsageError: a name that is not shipped; the message suggests the nearest.
    """
    files = [BASE]
    for kind, name in choices.items():
        file = file_of(kind, name)
        delta = file.with_name(f"{name}.{choices['profile']}.yaml")
        files += [file, delta] if delta.exists() else [file]
    return files
