"""How the program uses the machine it runs on: set before torch is imported, and never over the user's own setting."""

import ctypes
import os
from typing import Final

_POLICY: Final = "OMP_WAIT_POLICY"
ENVIRONMENT: Final = {
    # OpenMP threads that wait at a barrier soon sleep instead of spinning for long: beside another process on the same
    # cores, spinning threads take the time of the very thread that they wait for.
    _POLICY: "PASSIVE",
    # But not at once, since a layer ends with a barrier, and threads that sleep take long to wake: on two idle cores a
    # light landmarker's step then takes half as long again, no less than with one thread. GNU's OpenMP, which torch
    # brings along on Linux, spins so often, some 50 µs (docs/results/speed.md).
    "GOMP_SPINCOUNT": "3000",
    # As the first, for Intel's OpenMP.
    "KMP_BLOCKTIME": "0",
}
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Options of glibc's ``mallopt`` (malloc.h)."""
_ALLOCATOR_SETTINGS: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Environment variables by which a user sets the allocator."""


def prepare_process() -> None:
    """Set what torch and its libraries read when they are imported, and keep freed memory within the process.

    A variable that is set already stays, and a user's policy is not undone by a count of ours. Processes that this one
    starts inherit the variables.
    """
    ours = _POLICY not in os.environ
    for name, value in ENVIRONMENT.items():
        if ours or name != "GOMP_SPINCOUNT":
            os.environ.setdefault(name, value)
    if not any(name in os.environ for name in _ALLOCATOR_SETTINGS):
        keep_memory()


def keep_memory() -> bool:
    """Have the C library keep freed memory for the next allocation, up to what the process has needed at its most.

    By default every tensor above 128 KiB to 32 MiB is given back to the system when it is freed and fetched again in
    the next step, page by page: a quarter of the time of a light landmarker's training step on a CPU.

    Returns:
        Whether the C library was told so; it is glibc that has this option.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    # Older versions take no threshold above 32 MiB.
    kept = mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)
    return bool(kept and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
