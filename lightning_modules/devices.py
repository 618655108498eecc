"""Numbers of the host on a device, without waiting for it.

``torch.tensor(…, device=…)``, ``Tensor.new_tensor`` and an index given as a list each copy from the host and wait until
all work that was queued before is done. In a training step they would take away what a GPU gains by running ahead.
"""

import math
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


def surely_numbers(tensor: Tensor) -> bool:
    """Whether no value is NaN, as far as the host can know it without waiting.

    On a CPU the values are looked at, in one pass (a sum that is NaN may also be of infinite values, and then it is
    not sure). On a device it is never sure, and while a network is traced, compiled or exported, whose values are not
    there, always.
    """
    if traced():
        return True
    return tensor.device.type == "cpu" and not math.isnan(tensor.detach().sum().item())


def eager_on_cpu(tensor: Tensor) -> bool:
    """Whether what is done with a tensor is done at once and by the CPU: not traced, compiled or exported."""
    return tensor.device.type == "cpu" and not traced()


def traced() -> bool:
    """Whether a network is being traced, compiled or exported."""
    found: bool = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return found


class Reading:
    """A scalar on its way from a device to the host, which does not wait for it.

    Args:
        value: a scalar; on the CPU it has arrived at once.
    """

    def __init__(self, value: Tensor) -> None:
        value = value.detach()
        self._event: torch.cuda.Event | None = None
        if value.device.type == "cuda":
            self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._host.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types for it
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._host = value

    @property
    def arrived(self) -> bool:
        """Whether it can be read without waiting."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    @property
    def value(self) -> float:
        """The number; waits for it if it has not arrived."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._host)

    @property
    def is_finite(self) -> bool:
        """Whether it is neither infinite nor NaN; waits likewise."""
        return math.isfinite(self.value)
