"""What can be chosen, a YAML file each: settings, methods, landmarkers, grids, …; and commands, a module each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf import OmegaConf

from experiments.errors import UsageError, nearest

_ROOT: Final = Path(__file__).resolve().parents[1]
CONFIGS: Final = _ROOT / "configs"
_FOLDERS: Final = {
    "setting": "configs/settings",
    "method": "configs/methods",
    "landmarker": "configs/landmarkers",
    "profile": "configs/profiles",
    "grid": "experiments/grids",
    "sweep": "experiments/sweeps",
    "paper": "experiments/grids/papers",
    "peer": "configs/peers",
    "field": "configs/fields",
}


def _files(kind: str) -> dict[str, Path]:
    """The files of a kind by name: those that come with the program, and the user's own in ``./configs`` and so on."""
    folders = [root / _FOLDERS[kind] for root in (_ROOT, Path.cwd())]
    return {path.stem: path for folder in folders for path in folder.glob("*.yaml") if "." not in path.stem}


def names(kind: str) -> list[str]:
    """What can be chosen of a kind: setting, method, landmarker, profile, grid, sweep, paper, peer, field."""
    return sorted(_files(kind))


def command_modules() -> dict[str, str]:
    """The module of each of our commands, within :mod:`experiments.commands`, by the command's name as it is typed.

    ``bench/warp.py`` is ``bench-warp``; each module has the function of its command, ``bench_warp``.
    """
    root = _ROOT / "experiments" / "commands"
    parts = (file.relative_to(root).with_suffix("").parts for file in root.rglob("[!_]*.py"))
    # `import_/weights.py` is `import-weights`, as an option `from_` is `--from`.
    words = (("-".join(name.rstrip("_") for name in names), ".".join(names)) for names in parts)
    return dict(sorted((word.replace("_", "-"), module) for word, module in words))


def file_of(kind: str, name: str) -> Path:
    """The YAML file of a choice.

    Raises:
        UsageError: there is no such choice; the message suggests the nearest.
    """
    files = _files(kind)
    if name not in files:
        raise UsageError(f"{kind.upper()}={name} is not known. {nearest(name, files)}")
    return files[name]


def usual_choices(setting: str) -> dict[str, str]:
    """The method and the landmarker of a setting where none are chosen: those that its file names, else the base's.

    Raises:
        UsageError: the setting is not known; the message suggests the nearest.
    """
    files = (CONFIGS / "base.yaml", file_of("setting", setting))
    run = OmegaConf.merge(*(OmegaConf.load(file) for file in files)).run
    return {kind: str(run[kind]) for kind in ("method", "landmarker")}


def config_files(choices: Mapping[str, str]) -> list[Path]:
    """The configuration files of choices, later ones to be laid over earlier ones.

    A choice may come with a delta for a profile, ``NAME.PROFILE.yaml``, e.g. the light form of a landmarker. Where it
    has none for this profile, it is that of the profile which this one names as ``run.forms``, if any.

    Args:
        choices: names by kind, in the order in which their files are laid over each other; without a ``profile``, no
            file comes with a delta.

    Raises:
        UsageError: a name that is not known; the message suggests the nearest.
    """
    files = [CONFIGS / "base.yaml"]
    forms: list[str] = []
    if profile := choices.get("profile"):
        others = OmegaConf.select(OmegaConf.load(file_of("profile", profile)), "run.forms")
        forms = [profile, *([others] if others else [])]
    for kind, name in choices.items():
        file = file_of(kind, name)
        deltas = [file.with_name(f"{name}.{form}.yaml") for form in forms]
        files += [file, *[delta for delta in deltas if delta.exists()][:1]]
    return files


def read_yaml(path: Path, expected: str) -> Any:
    """The content of a YAML file.

    Args:
        path: the file.
        expected: what it should hold, for the message.

    Raises:
        UsageError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path}: found {said}; expected {expected}. Correct the file.") from error
