"""How the program uses the machine it runs on: set before torch is imported, and never over the user's own setting."""

import ctypes
import os
import time
from pathlib import Path
from typing import Final

_POLICY: Final = "OMP_WAIT_POLICY"
ENVIRONMENT: Final = {
    # OpenMP threads that wait at a barrier soon sleep instead of spinning for long: beside another process on the same
    # cores, spinning threads take the time of the very thread that they wait for.
    _POLICY: "PASSIVE",
    # The same for Intel's OpenMP.
    "KMP_BLOCKTIME": "0",
}
_SPINS: Final = "GOMP_SPINCOUNT"
_FEW_SPINS, _MANY_SPINS = "1000", "10000"
"""How often a thread looks before it sleeps, in GNU's OpenMP, which torch brings along on Linux: for 25 to 50 µs where
another process computes, else for a quarter to half a millisecond. Not never, since every layer ends with a barrier and
a thread that sleeps takes long to wake: on two idle cores a step then takes half as long again, no less than with one
thread (docs/results/speed.md)."""
_LOAD: Final = Path("/proc/loadavg")
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Options of glibc's ``mallopt`` (malloc.h)."""
_ALLOCATOR_SETTINGS: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Environment variables by which a user sets the allocator."""


def prepare_process() -> None:
    """Set what torch and its libraries read when they are imported, and keep freed memory within the process.

    A variable that is set already stays, and a user's policy is not undone by a count of ours. Processes that this one
    starts inherit the variables.
    """
    if _POLICY not in os.environ and _SPINS not in os.environ:
        os.environ[_SPINS] = _MANY_SPINS if cores_are_free() else _FEW_SPINS
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not any(name in os.environ for name in _ALLOCATOR_SETTINGS):
        keep_memory()


def cores_are_free(looks: int = 6, pause: float = 0.002) -> bool:
    """Whether other processes leave as many of the machine's cores free as this one has threads to compute with.

    Args:
        looks: how often to count what is running, at most; it may be something that wakes for a moment.
        pause: seconds between them.

    Returns:
        What is so now; false where it cannot be known, which it can on Linux.
    """
    try:
        spare = (os.cpu_count() or 1) - len(os.sched_getaffinity(0))
        for look in range(looks):
            if look:
                time.sleep(pause)
            # Its fourth field is running/all; this process is one of them. In a container both numbers are its host's.
            if int(_LOAD.read_text().split()[3].partition("/")[0]) - 1 <= spare:
                return True
    except (AttributeError, IndexError, OSError, ValueError):  # another system, or something else under that name
        return False
    return False


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
