"""Tries many inputs on every reader: ``python -m tests.readers [--examples N] [--only NAME …]``; prints a table."""

import argparse
import logging
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.readers.readers import Reader, limit_memory, readers, try_one

GIB = 2**30


def main() -> int:
    """The number of readers that a fault was found in."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1e9, help="for each reader, at most")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    limit_memory(6 * GIB)  # of addresses, of which libraries reserve two without using them
    faults = 0
    for name, reader in readers().items():
        if not options.only or name in options.only:
            tried, seconds, fault = _tried(reader, options.examples, options.seconds)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            faults += fault is not None
            print(
                f"{name:28} {tried:6} inputs {seconds:6.1f} s, memory {peak:.1f} GiB: {fault or 'no fault'}", flush=True
            )
    return faults


def _tried(reader: Reader, examples: int, most: float) -> tuple[int, float, str | None]:
    count, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(data=reader.given)
        def tried(data: bytes) -> None:
            nonlocal count
            if time.monotonic() - start < most:
                count += 1
                try_one(reader, Path(folder, f"file{reader.suffix}"), data)

        try:
            tried()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())[:200]
            return count, time.monotonic() - start, f"{type(error).__name__}: {said} ({last.filename}:{last.lineno})"
    return count, time.monotonic() - start, None


if __name__ == "__main__":
    sys.exit(main())
