"""What was decoded, kept in memory that all processes of a loader share, up to a limit."""

import logging
import mmap
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

_log = logging.getLogger(__name__)

MIB = 2**20
_ALIGNED = 64
_MOST = 16 * 1024 * MIB
"""The default limit is never more than this: what a few ten thousand faces need."""


class SharedStore:
    """Objects in numbered slots, kept as bytes in shared memory: what one loader process puts, all of them get.

    The memory is reserved at once and used as it fills. There is no eviction: every epoch visits every face, so that
    what was put first serves as well as what was put last; once it is full, nothing more is kept. Beyond the limit
    images are decoded anew, not written to disk: reading shrunk pixels back takes about as long as decoding a file
    that the system has in its own cache, and files would have to be tidied up after an interrupted run.

    A slot may be put again, e.g. where a file has changed; the place of its former object is not used again.

    Processes that are forked share it. Where they are started otherwise (not on Linux), each has a store of its own.

    Args:
        slots: how many.
        limit: bytes; 0 keeps nothing.
        copies: how many loader processes share the limit where each must have its own.
    """

    def __init__(self, slots: int, limit: int, copies: int = 1) -> None:
        self.slots, self.copies = slots, copies
        self.limit = self._reserve(limit)
        # Each slot's place and length, and in a last row how much is used.
        table = mmap.mmap(-1, 16 * (slots + 1))
        self._table = np.frombuffer(table, np.int64).reshape(slots + 1, 2)
        self._lock = multiprocessing.get_context("fork" if hasattr(os, "fork") else None).Lock()
        self._told = False

    def _reserve(self, limit: int) -> int:
        self._memory: mmap.mmap | None = None
        if limit > 0:
            try:
                self._memory = mmap.mmap(-1, limit)
            except (OSError, ValueError, OverflowError) as error:
                _log.warning("data.cache_mib: %d MiB cannot be reserved (%s): nothing is kept", limit // MIB, error)
        return 0 if self._memory is None else limit

    @property
    def used(self) -> int:
        """Bytes in use."""
        return int(self._table[-1, 0])

    def get(self, slot: int) -> Any:
        """The slot's object, or None. Arrays in it are read-only: they lie in the shared memory."""
        with self._lock:
            start, length = self._table[slot].tolist()
        if length == 0 or self._memory is None:
            return None
        view = memoryview(self._memory)[start : start + length].toreadonly()
        sizes = np.frombuffer(view, np.int64, 8).tolist()
        parts, place = [], _ALIGNED
        for size in sizes[: sizes.index(-1)]:
            parts.append(view[place : place + size])
            place += _padded(size)
        return pickle.loads(parts[0], buffers=parts[1:])

    def put(self, slot: int, value: Any) -> bool:
        """Keep an object that pickles; its contiguous arrays, at most six, are copied as they are. False where full."""
        if self._memory is None:
            return False
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        sizes = np.full(8, -1, np.int64)
        sizes[: len(parts)] = [part.nbytes for part in parts]
        length = _ALIGNED + sum(_padded(part.nbytes) for part in parts)
        with self._lock:
            start = self.used
            if start + length > self.limit:
                self._tell()
                return False
            self._memory[start : start + _ALIGNED] = sizes.tobytes()
            place = start + _ALIGNED
            for part in parts:
                self._memory[place : place + part.nbytes] = part
                place += _padded(part.nbytes)
            self._table[-1, 0] = start + length
            self._table[slot] = start, length
        return True

    def _tell(self) -> None:
        if not self._told:
            _log.info(
                "data.cache_mib: all %d MiB hold decoded faces; the others are decoded each time", self.limit // MIB
            )
        self._told = True

    def __reduce__(self) -> tuple[type["SharedStore"], tuple[int, int]]:
        return SharedStore, (self.slots, self.limit // self.copies)


def default_limit() -> int:
    """Bytes: a quarter of the memory that is available now, at most 16 GiB."""
    return min(available_memory() // 4, _MOST)


def available_memory() -> int:
    """Bytes that can be used without swapping, by this machine's count and by its container's; 0 if unknown."""
    found = [value for value in (_of_machine(), *_of_container()) if value is not None]
    return max(0, min(found, default=0))


def _of_machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:  # not Linux: all of the memory, of which half may be in use
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _of_container() -> list[int]:
    """What the control group leaves, version 2 or 1."""
    found = []
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        top = Path("/sys/fs/cgroup")
        try:
            found.append(int((top / limit).read_text()) - int((top / used).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return found


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
