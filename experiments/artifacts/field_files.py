"""Warping fields chosen by name or by a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError

from experiments.catalogue import file_of, read_yaml
from experiments.checkpoints import own_error
from experiments.compose import build
from experiments.errors import UsageError
from lightning_modules.warping import FieldFitter
from lightning_modules.weights import WeightsError


def read_field(name: str) -> FieldFitter:
    """A field of ``configs/fields`` by its name, or of a YAML file with ``class_path`` and ``init_args``.

    Raises:
        UsageError: there is none, or it cannot be built as the file says.
        WeightsError: its weights cannot be used.
    """
    path = Path(name) if Path(name).suffix else file_of("field", name)
    if not path.is_file():
        raise UsageError(f"{path}: no such field. Give a YAML file, or the name of one in configs/fields.")
    spec = read_yaml(path, "YAML")
    return build_field(spec, str(path))


def build_field(spec: Any, where: str) -> FieldFitter:
    """A field from its ``class_path`` and ``init_args``.

    Args:
        spec: of the field.
        where: it was read, for messages.

    Raises:
        UsageError: it is no such specification, there is no such class, or it does not take these arguments.
        WeightsError: its weights cannot be used.
    """
    if not isinstance(spec, Mapping) or not {"class_path"} <= set(spec) <= {"class_path", "init_args"}:
        found = sorted(spec) if isinstance(spec, Mapping) else type(spec).__name__
        raise UsageError(f"{where}: found {found}; expected class_path, and possibly init_args, of a warping field.")
    try:
        fitter: FieldFitter = build(FieldFitter, spec, "field")
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from error
    return fitter
