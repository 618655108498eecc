"""What published networks held and saw when their outputs were written down (kept outside the repository)."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The values of the published network's tensor ``name``."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.05 * values
    else:
        values *= 0.02 if len(shape) <= 1 else np.sqrt(1 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def normalized_images() -> torch.Tensor:
    """The normalised images it saw, shape ``(2, 3, 256, 256)``."""
    return torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (2, 3, 256, 256)).astype(np.float32))


def golden(name: str) -> dict[str, Any]:
    """What was written down of network ``name``; skips the test where that is absent."""
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    content: dict[str, Any] = json.loads(path.read_text())
    return content
