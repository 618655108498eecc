"""What the program sets before torch is imported, in a process of its own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import machine
from experiments.machine import ENVIRONMENT, cores_are_free

ROOT = Path(__file__).resolve().parents[2]
SET = {
    *ENVIRONMENT,
    "GOMP_SPINCOUNT",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
}


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
    assert found["GOMP_SPINCOUNT"] in ("1000", "10000")


def test_the_users_setting_wins() -> None:
    given = dict.fromkeys((*ENVIRONMENT, "GOMP_SPINCOUNT"), "users")
    found = said(PREPARED, **given)
    assert {name: found[name] for name in given} == given


def test_the_users_policy_is_not_undone() -> None:
    found = said(PREPARED, OMP_WAIT_POLICY="ACTIVE")
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in found


class _Load:
    """``/proc/loadavg`` with so many processes running, of which this is one, at each look."""

    def __init__(self, *running: int) -> None:
        self.running = list(running)

    def read_text(self) -> str:
        return f"0.50 0.40 0.30 {self.running.pop(0)}/321 12345\n"


@pytest.mark.parametrize(
    ("running", "allowed", "free"),
    [((1, 1, 1), 2, True), ((2, 2, 2), 2, False), ((3, 1, 2), 2, True), ((2, 2, 2), 1, True), ((3, 4, 3), 1, False)],
    ids=["idle", "a neighbour", "what wakes for a moment", "pinned to one core", "both cores taken"],
)
def test_threads_spin_longer_where_cores_are_free(
    running: tuple[int, ...], allowed: int, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_LOAD", _Load(*running))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
    assert cores_are_free(looks=len(running), pause=0) is free
    for name in SET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "cores_are_free", lambda: free)
    monkeypatch.setattr(machine, "keep_memory", lambda: True)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    machine.prepare_process()
    assert os.environ["GOMP_SPINCOUNT"] == ("10000" if free else "1000")


@pytest.mark.parametrize("text", ["", "0.5 0.4 0.3", "0.5 0.4 0.3 some/321 5"])
def test_cores_that_cannot_be_counted_are_not_free(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LOAD", tmp_path / "loadavg")
    assert not cores_are_free(pause=0)
    (tmp_path / "loadavg").write_text(text)
    assert not cores_are_free(pause=0)


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
