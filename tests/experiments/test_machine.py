"""What the program sets before torch is imported, in a process of its own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.machine import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
SET = {*ENVIRONMENT, "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"}


def said(program: str, **given: str) -> dict[str, str]:
    """The last line that a program prints, in JSON, where none of the settings but these are set."""
    clean = {name: value for name, value in os.environ.items() if name not in SET}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env={**clean, **given}, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


STARTED = """
import json, os, sys
from experiments.command_line import main
assert "torch" not in sys.modules, "OpenMP reads its settings when torch is imported"
main(["--help"])
print(json.dumps(dict(os.environ)))
"""


PREPARED = """
import json, os
from experiments.machine import prepare_process
prepare_process()
print(json.dumps(dict(os.environ)))
"""


def test_threads_sleep_where_they_wait_long() -> None:
    found = said(STARTED)
    assert {name: found[name] for name in ENVIRONMENT} == ENVIRONMENT


def test_the_users_setting_wins() -> None:
    given = dict.fromkeys(ENVIRONMENT, "users")
    found = said(PREPARED, **given)
    assert {name: found[name] for name in ENVIRONMENT} == given


def test_the_users_policy_is_not_undone() -> None:
    found = said(PREPARED, OMP_WAIT_POLICY="ACTIVE")
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in found


FAULTS = """
import json, resource
from experiments.machine import prepare_process
prepare_process()
def touch():
    bytearray(b"1" * (40 << 20))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    touch()
print(json.dumps({"pages": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_used_again() -> None:
    """By default each of these 40 MiB is fetched anew, page by page; not where the user has set the allocator."""
    pages = 4 * (40 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert int(said(FAULTS)["pages"]) < pages / 10
    assert int(said(FAULTS, MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")["pages"]) > pages / 2
