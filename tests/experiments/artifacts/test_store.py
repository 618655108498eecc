"""Artifacts: made by one run, waited for by others, and decided on by the first process of a distributed run."""

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from lightning.pytorch.strategies import SingleDeviceStrategy

from experiments.artifacts.store import Recipe, RunContext, provide
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import PHASES, TINY, metrics, write_config
from tests.experiments.processes.two_processes import run_on_two_processes


@dataclass
class Cake(Recipe):
    """Takes no training to make."""

    what, place, file = "cake", "cakes", "cake.txt"

    flour: str = "rye"
    made: list[Path] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def facts(self) -> Mapping[str, Any]:
        return {"flour": self.flour}

    def make(self, folder: Path, context: RunContext) -> None:
        self.begun.set()
        self.may_end.wait()
        (folder / self.file).write_text(self.flour)
        self.made.append(folder)


def context(runs: Path, seed: int = 0) -> RunContext:
    return RunContext(runs, seed, {}, SingleDeviceStrategy("cpu"))


def test_it_is_made_once_and_anew_for_other_facts_or_another_seed(tmp_path: Path) -> None:
    rye, wheat = Cake(), Cake("wheat")
    for cake in (rye, wheat):
        cake.may_end.set()
    first, again = (provide(rye, context(tmp_path)) for _ in range(2))
    others = [provide(wheat, context(tmp_path)), provide(rye, context(tmp_path, seed=1))]
    assert first == again
    assert len({first, *others}) == 3
    assert [path.read_text() for path in (first, *others)] == ["rye", "wheat", "rye"]
    assert (len(rye.made), len(wheat.made)) == (2, 1)


def test_a_making_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cake = Cake()
    with monkeypatch.context() as patched:
        patched.setattr(Cake, "make", _fail)
        with pytest.raises(OSError, match="oven"):
            provide(cake, context(tmp_path))
    cake.may_end.set()
    assert provide(cake, context(tmp_path)).exists()


def _fail(*args: object) -> None:
    raise OSError("the oven is cold")


def test_one_run_waits_for_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The lock is a file's, so a second holder in this process waits as one in another does."""
    first, second = Cake(), Cake()
    threads = [threading.Thread(target=provide, args=(cake, context(tmp_path))) for cake in (first, second)]
    with caplog.at_level(logging.INFO):
        threads[0].start()
        first.begun.wait()
        threads[1].start()
        while "waiting for another run, which is making the same cake" not in caplog.text:
            time.sleep(0.01)
        first.may_end.set()
        for thread in threads:
            thread.join()
    assert (len(first.made), len(second.made)) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("found", [True, False], ids=["made by the other run", "left unmade"])
def test_two_processes_wait_together(tmp_path: Path, drawn_run: FinishedRun, found: bool) -> None:
    """While another run holds the lock of the start, neither process trains; then both use it, or both make it."""
    # The first: tests that go on with this run have made starts for other seeds and sources since.
    made = min(drawn_run.runs.glob("pretrained/*/landmarker.ckpt"), key=lambda path: path.stat().st_mtime)
    folder = tmp_path / "runs/pretrained" / made.parent.name
    folder.mkdir(parents=True)
    two = {"trainer": {"strategy": "ddp", "enable_progress_bar": False}}
    config = write_config(tmp_path / "tiny.yaml", TINY, PHASES, two)
    lock = FileLock(folder / "lock")

    def meanwhile() -> None:
        time.sleep(7)  # both processes are at the lock by now: they are forked with all imported
        assert {path.name for path in folder.iterdir()} == {"lock"}, "no process has begun to train"
        if found:
            shutil.copy(made, folder)
        lock.release()

    lock.acquire()
    run_on_two_processes(["train", "--setting=da_cariface", config, f"--paths.runs={tmp_path}/runs"], 240, meanwhile)
    start = folder / "landmarker.ckpt"
    assert (start.read_bytes() == made.read_bytes()) == found
    assert metrics(tmp_path / "runs/da_cariface/face_warping-slpt/seed0")["source_only"] is not None
