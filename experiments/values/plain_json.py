"""JSON as its standard has it: what is not a finite number becomes null, which every reader understands."""

import json
import math
from collections.abc import Mapping
from typing import Any


def as_json(content: Any, indent: int = 2) -> str:
    """Plain values, nested at will, as JSON with a newline at its end."""
    return json.dumps(_plain(content), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
