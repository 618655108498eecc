"""Several processes at once: GPUs shared out, failures named, and none left behind by a parent that is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.grids.executors.local import Job, gpus, run_jobs

TETHERED = "experiments.grids.executors.tethered"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``said`` that runs the Python it is given."""
    (tmp_path / "said.py").write_text("import os, sys\nexec(sys.argv[1])\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    return tmp_path


def job(folder: Path, name: str, code: str, needed: bool = True) -> Job:
    return Job(name, ["said", code], folder / f"{name}.log", lambda: needed, {"NAME": name})


def test_gpus_are_shared_out_one_a_job(program: Path) -> None:
    """Two jobs at once meet in a pair of pipes: neither ends before the other has begun."""
    for name in ("a", "b"):
        os.mkfifo(program / name)
    meet = (
        "me, other = os.environ['NAME'], {'a': 'b', 'b': 'a'}[os.environ['NAME']]\n"
        f"ways = [('w', me), ('r', other)] if me == 'a' else [('r', other), ('w', me)]\n"
        f"for mode, name in ways: open({str(program)!r} + '/' + name, mode).close()\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    )
    after = "print(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [job(program, "a", meet), job(program, "b", meet), job(program, "c", after)]
    assert run_jobs(jobs, at_once=2, threads=3, devices=["4", "GPU-7"]) == []
    seen = [(program / f"{name}.log").read_text().split() for name in "abc"]
    assert {tuple(words) for words in seen[:2]} == {("4", "3"), ("GPU-7", "3")}
    assert seen[2][0] in ("4", "GPU-7"), "one that is free again"


def test_fewer_gpus_than_jobs_and_none_at_all(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "what the user said")
    code = "print(os.environ['CUDA_VISIBLE_DEVICES'])"
    run_jobs([job(program, name, code) for name in "ab"], at_once=2, devices=["4"])
    run_jobs([job(program, "c", code)])
    assert [(program / f"{name}.log").read_text().strip() for name in "abc"] == ["4", "4", "what the user said"]


def test_which_gpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1, 3")
    assert gpus() == ["MIG-1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert gpus() == ["0", "1"]


def test_one_that_fails_is_named_and_the_others_go_on(program: Path) -> None:
    jobs = [
        job(program, "dies", "print('first'); print('out of memory'); sys.exit(9)"),
        job(program, "killed", "os.kill(os.getpid(), 9)"),
        job(program, "right", "print('done')"),
        job(program, "left out", "print('done')", needed=False),
    ]
    dies, killed = run_jobs(jobs)
    assert dies == f"dies ended with status 9: out of memory ({program}/dies.log)"
    assert killed == f"killed ended with SIGKILL:  ({program}/killed.log)"
    assert (program / "right.log").read_text() == "done\n"
    assert not (program / "left out.log").exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_jobs_end_with_their_parent_however_that_ends(program: Path, end: signal.Signals) -> None:
    """The job, and a process that it has started, hold the writing end of a pipe: it closes when both are gone."""
    pipe, started = program / "pipe", program / "started"
    os.mkfifo(pipe)
    os.mkfifo(started)
    code = (
        f"import signal, subprocess\nheld = open({str(pipe)!r}, 'w')\n"
        "child = subprocess.Popen(['sleep', '1000'], pass_fds=[held.fileno()])\n"
        f"open({str(started)!r}, 'w').close()\nsignal.pause()"
    )
    parent = (
        "import signal\nfrom pathlib import Path\nfrom experiments.grids.executors.local import Job, run_jobs\n"
        # What starts tests in the background may have told them to ignore it, which is inherited.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"run_jobs([Job(n, ['said', {code!r}], Path({str(program)!r}, n + '.log')) for n in ('first', 'second')])"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.DEVNULL)
    with pipe.open() as held:
        with started.open():
            pass
        process.send_signal(end)
        assert held.read() == "", "ends only when nobody holds it any more"
    assert process.wait() in (-end, 1)
    assert not (program / "second.log").exists()


def test_a_program_of_a_parent_that_is_there_is_left_alone(program: Path) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", TETHERED, "said", "print(__name__, sys.argv[1:] != [])"]
    done = subprocess.run(command, stdin=reading, capture_output=True, text=True, check=True)
    os.close(writing)
    os.close(reading)
    assert done.stdout == "__main__ True\n"
