"""Changing some images of a batch, drawn at random, and leaving the rest."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_modules.devices import chosen


def require_share(name: str, share: float) -> float:
    """The share itself.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}; expected a share in [0, 1].")
    return share


def select(share: float, count: int) -> Tensor:
    """Which of ``count`` images to change: each with probability ``share``; bool, shape ``(count,)``.

    Drawn from torch's global generator on the CPU, so that no device has to be waited for.
    """
    return torch.rand(count) < share


def change_selected(selected: Tensor, values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change some of a batch.

    Args:
        selected: which, bool, shape ``(B,)``.
        values: images, landmarks or the like, shape ``(B, …)``.
        change: gets the N selected ones, ``(N, …)``, and returns as many of the same shape.

    Returns:
        A new tensor of the shape and type of ``values``; ``values`` itself where none is selected.
    """
    if not selected.numpy().any():
        return values
    places = chosen(selected, values.device)
    return values.index_copy(0, places, change(values[places]).to(values.dtype))
