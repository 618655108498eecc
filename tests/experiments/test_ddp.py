"""A run on two processes, as Lightning's plain ``ddp`` starts them, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datamodules import loading
from datamodules.datasets import SyntheticDataModule
from experiments.checkpoints import load_landmarker
from experiments.scoring import score
from tests.experiments.helpers import PHASES, TINY, drawn, metrics, rows, write_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TWO_PROCESSES = {
    "trainer": {"devices": 2, "strategy": "ddp", "enable_progress_bar": False},
    # Five faces on two processes, and one that the second process has no part in.
    "data": {"batch_size": 2, "tests": [drawn("photo", test=5), drawn("caricature", test=1)]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with pretraining, a warper epoch, a proximal epoch and the test, on two processes."""
    top = tmp_path_factory.mktemp("ddp")
    config = write_config(top / "tiny.yaml", TINY, PHASES, TWO_PROCESSES)
    command = [sys.executable, "-m", "experiments", "train", "--setting=da_cariface", config]
    command += [f"--paths.runs={top}/runs", "--trainer.callbacks+=tests.experiments.processes.ranks.RankReport"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # In a session of its own, so that both processes can be ended if they wait for each other for ever.
    process = subprocess.Popen(
        command, cwd=top, env=environment, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        _, errors = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
    assert process.returncode == 0, errors.decode()
    return top / "runs/da_cariface/face_warping-slpt/seed0"


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    """What each process had at the end of training."""
    return [json.loads((folder / f"ranks/{rank}.json").read_text()) for rank in (0, 1)]


def test_both_processes_end_with_the_same_network_and_optimizers(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["optimizers"] == ranks[1]["optimizers"]


def test_both_processes_have_all_pseudo_landmarks(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["pseudo"] == ranks[1]["pseudo"]
    assert ranks[0]["pseudo_faces"] == 6


def test_each_face_is_scored_once(folder: Path, ranks: list[dict[str, Any]]) -> None:
    found = metrics(folder)
    for figures in (found["test"], found["source_only"]["test"], *(rank["scores"] for rank in ranks)):
        assert {name: figure["n"] for name, figure in figures.items()} == {"photo": 5, "caricature": 1}
    assert ranks[0]["scores"] == ranks[1]["scores"]


def test_one_process_writes_the_outputs(folder: Path) -> None:
    assert [(row["epoch"], row["phase"]) for row in rows(folder / "nme.csv")] == [
        *[("0", "warper")] * 2,
        *[("1", "proximal")] * 2,
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["seed0"], "no process moved the other's folder aside"
    assert len(list(folder.parents[2].glob("pretrained/*/landmarker.ckpt"))) == 1
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_the_checkpoint_scores_as_the_run_did(folder: Path) -> None:
    """The saved network is the one both processes were scored with, batch-norm statistics included."""
    faces = SyntheticDataModule("photo", 8, 5, "photo", size=64).test_faces()
    scores = score(load_landmarker(folder / "checkpoints/last.ckpt"), [loading.TestSet(faces, faces.subsets())])
    assert scores.as_dict()["test"]["photo"] == pytest.approx(metrics(folder)["test"]["photo"], rel=1e-6)
