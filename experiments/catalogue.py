"""The shipped choices: one YAML file per setting, method, landmarker and profile."""

from pathlib import Path

from experiments.errors import UsageError, nearest

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

BASE = CONFIGS / "base.yaml"
FOLDERS = {"setting": "settings", "method": "methods", "landmarker": "landmarkers", "profile": "profiles"}


def names(kind: str) -> list[str]:
    """What can be chosen of a kind (``setting``, ``method``, ``landmarker`` or ``profile``)."""
    return sorted(path.stem for path in (CONFIGS / FOLDERS[kind]).glob("*.yaml") if "." not in path.stem)


def config_files(setting: str, method: str, landmarker: str, profile: str) -> list[Path]:
    """The configuration files of a run, later ones over earlier ones.

    A choice may come with a delta for a profile, ``NAME.PROFILE.yaml``, e.g. the light form of a landmarker.

    Raises:
        UsageError: a name that is not shipped; the message suggests the nearest.
    """
    chosen = {"profile": profile, "setting": setting, "method": method, "landmarker": landmarker}
    files = [BASE]
    for kind, name in chosen.items():
        folder = CONFIGS / FOLDERS[kind]
        if name not in names(kind):
            raise UsageError(f"{kind.upper()}={name} is not known. {nearest(name, names(kind))}")
        files += [file for file in (folder / f"{name}.yaml", folder / f"{name}.{profile}.yaml") if file.exists()]
    return files
