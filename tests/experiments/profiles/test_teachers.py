"""``configs/teachers.yaml`` laid over a run: networks of others teach, and a run goes on without having kept them."""

from pathlib import Path

import numpy as np
import pytest

from experiments.catalogue import CONFIGS
from experiments.checkpoints import load_landmarker
from lightning_modules.landmarkers import SLPT
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.methods import FaceWarping
from tests.experiments.helpers import PHASES, RESUMING, TINY, differences, learned, metrics, refused, run, write_config
from tests.experiments.processes.killing import run_and_kill
from tests.lightning_modules.landmarkers.fixed.onnx_networks import write_fixed_points

pytestmark = RESUMING
RUN = Path("da_cariface/face_warping-slpt/seed0")
LAST = "checkpoints/last.ckpt"
FILES = {"pfld_300w/pfld.onnx": 112, "peppa_slim/slim.onnx": 160}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two epochs under teachers that each know but one face."""
    monkeypatch.setenv("PEERS", str(tmp_path / "peers"))
    for name, size in FILES.items():
        file = tmp_path / "peers" / name
        file.parent.mkdir(parents=True)
        write_fixed_points(file, np.array(MEAN_FACE), size)
    return [
        *("train", "--setting=da_cariface", write_config(tmp_path / "tiny.yaml", TINY, PHASES)),
        f"--config={CONFIGS / 'teachers.yaml'}",
    ]


@pytest.mark.slow
def test_networks_of_others_teach_and_a_run_goes_on_as_if_never_stopped(tmp_path: Path, command: list[str]) -> None:
    run(*command, f"--paths.runs={tmp_path}/whole", f"--config={CONFIGS / 'ema.yaml'}")
    whole = tmp_path / "whole" / RUN
    pseudo = learned(whole / LAST)["pseudo_landmarks"]
    assert pseudo["landmarks"].shape == (6, 68, 2)
    # The two know the same face: the third is out-voted, and how far they are apart decides.
    assert ((pseudo["weights"] > 0) & (pseudo["weights"] < 1)).all()
    assert "OnnxLandmarker" in (whole / "config.yaml").read_text()
    run_and_kill([*command, f"--paths.runs={tmp_path}/cut", f"--config={CONFIGS / 'ema.yaml'}"], FaceWarping, 1, 1)
    run(*command, f"--paths.runs={tmp_path}/cut", f"--config={CONFIGS / 'ema.yaml'}", "--resume")
    assert list(differences(learned(tmp_path / "cut" / RUN / LAST), learned(whole / LAST))) == []
    assert metrics(tmp_path / "cut" / RUN) == metrics(whole)
    for name in FILES:
        (tmp_path / "peers" / name).unlink()
    assert isinstance(load_landmarker(whole / LAST), SLPT), "what was learned needs no teacher"


def test_a_teacher_whose_file_is_missing(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "peers/peppa_slim/slim.onnx").unlink()
    message = refused(capsys, *command, f"--paths.runs={tmp_path}/runs")
    assert f"there is no network file {tmp_path}/peers/peppa_slim/slim.onnx" in message
    assert "PEERS=folder" in message
    assert not (tmp_path / "runs").exists()
