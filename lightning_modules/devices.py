"""Numbers of the host on a device, without waiting for it.

``torch.tensor(…, device=…)``, ``Tensor.new_tensor`` and an index given as a list each copy from the host and wait until
all work that was queued before is done. In a training step they would take away what a GPU gains by running ahead.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """A tensor of numbers that never change, copied to a device once and then shared: do not write to it.

    Args:
        values: numbers, or tuples of them.
        device: where it lives.
        dtype: of the result.
    """
    # A tensor first made under inference mode could not be saved for a backward pass later.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype).to(device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; neither waits for the other."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def chosen(selected: Tensor, device: torch.device) -> Tensor:
    """The places where a mask on the host is true, as an index on a device.

    Indexing by the mask itself would have the device count them and tell the host.

    Args:
        selected: bool, on the CPU, shape ``(B,)``.
        device: of what is to be indexed.

    Returns:
        int64, shape ``(N,)``.
    """
    return sent(torch.from_numpy(selected.numpy().nonzero()[0]), device)
