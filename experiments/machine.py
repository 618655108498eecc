"""How the program uses the machine it runs on: set before torch is imported, and never over the user's own setting."""

import ctypes
import os
from typing import Final

ENVIRONMENT: Final = {
    # OpenMP threads that wait at a barrier sleep instead of spinning: beside another process on the same cores,
    # spinning threads take the time of the very thread that they wait for.
    "OMP_WAIT_POLICY": "PASSIVE",
    # The same for Intel's OpenMP.
    "KMP_BLOCKTIME": "0",
}
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Options of glibc's ``mallopt`` (malloc.h)."""
_ALLOCATOR_SETTINGS: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Environment variables by which a user sets the allocator."""


def prepare_process() -> None:
    """Set what torch and its libraries read when they are imported, and keep freed memory within the process.

    A variable that is set already stays. What other processes this one starts inherits the variables.
    """
    for name, value in ENVIRONMENT.items():
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
