"""Whether two runs learned and measured the same, bit for bit."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch

_LEARNED: Final = ("state_dict", "optimizer_states", "current_model_state", "pseudo_landmarks", "epoch", "global_step")
"""Of a checkpoint. Its other entries hold times and paths."""


def differences(folder: Path, reference: Path) -> list[str]:
    """Where a run's folder differs from another's in what was learned and measured."""
    found = list(
        state_differences(_learned(folder / "checkpoints/last.ckpt"), _learned(reference / "checkpoints/last.ckpt"))
    )
    mine, theirs = ((one / "metrics.json").read_text(encoding="utf-8") for one in (folder, reference))
    found += list(state_differences(json.loads(mine), json.loads(theirs), "metrics.json"))
    mine_rows, their_rows = (_rows(one / "nme.csv") for one in (folder, reference))
    return found + (["nme.csv"] if mine_rows != their_rows else [])


def _learned(path: Path) -> dict[str, Any]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    return {name: content.get(name) for name in _LEARNED}


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def state_differences(mine: Any, theirs: Any, name: str = "") -> Iterator[str]:
    """Where two nested states differ; tensors are equal only bit for bit."""
    if isinstance(mine, torch.Tensor) and isinstance(theirs, torch.Tensor):
        if mine.dtype != theirs.dtype or not torch.equal(mine, theirs):
            yield name
    elif isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*mine, *theirs]):
            yield from state_differences(mine.get(key), theirs.get(key), f"{name}/{key}")
    elif isinstance(mine, list | tuple) and isinstance(theirs, list | tuple) and len(mine) == len(theirs):
        for place, pair in enumerate(zip(mine, theirs, strict=True)):
            yield from state_differences(*pair, f"{name}/{place}")
    elif mine != theirs:
        yield name
