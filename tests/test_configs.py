"""The YAML files that come with the program: what can be chosen is named in them, and they are readable."""

import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.catalogue import file_of, names

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for room in ("configs", "experiments") for path in sorted((ROOT / room).rglob("*.yaml"))]
WIDEST = 120
CHOICES = [(kind, name) for kind in ("landmarker", "method") for name in names(kind)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_are_not_too_wide(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.lstrip().startswith("#") and len(line) > WIDEST] == []


@pytest.mark.parametrize(("kind", "name"), CHOICES)
def test_a_choice_names_all_its_options(kind: str, name: str) -> None:
    model = yaml.safe_load(file_of(kind, name).read_text())["model"]
    spec = model["init_args"]["landmarker"] if kind == "landmarker" else model
    assert options(pkgutil.resolve_name(spec["class_path"])) - {"landmarker"} == set(spec["init_args"])


def options(cls: type) -> set[str]:
    """A class's arguments; those of its bases too, as far as ``**options`` pass them on."""
    found: set[str] = set()
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base):
            continue
        parameters: Any = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD} - {"self"}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return found
