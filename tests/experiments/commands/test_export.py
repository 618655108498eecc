"""``export``: a checkpoint as an ONNX file, which ``evaluate`` scores as the checkpoint; and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.commands import export as module
from lightning_modules.landmarkers import ExportedLandmarker, Landmarker, LandmarkerOutput
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import refused, run
from tests.layouts import write_folder
from tests.lightning_modules.landmarkers.fixed.onnx_networks import write_fixed_points


def scores(folder: Path, ckpt: Path | str, out: Path) -> float:
    run("evaluate", f"--ckpt={ckpt}", f"--test={folder}", f"--out={out}")
    return float(json.loads(out.read_text())["test"]["own"]["nme"])


def test_a_run_is_exported_and_scored_alike(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt, out = f"{drawn_run.folder}/checkpoints/last.ckpt", tmp_path / "new" / "model.onnx"
    faces = write_folder(tmp_path / "faces", 4)
    run("export", ckpt, f"--out={out}", f"--images={faces}")
    message = capsys.readouterr().err
    found = message.split("largest difference in shares of the crop: ")[1].splitlines()[0]
    differences = [float(part.split(" on ")[0]) for part in found.split(", ")]
    assert [part.split(" on ")[1] for part in found.split(", ")] == ["noise", "drawn faces", str(faces)]
    assert 0 < max(differences) < 1e-4
    assert f"wrote {out}: {out.stat().st_size:,} bytes; images → landmarks; unknown" in message
    copy = load_landmarker(out)
    assert isinstance(copy, ExportedLandmarker)
    assert (copy.about.source, copy.about.precision, copy.about.landmarker) == ("last.ckpt", "fp32", "SLPT")
    assert str(tmp_path) not in str(copy.about), "no paths of this machine"
    expected = scores(faces, ckpt, tmp_path / "torch.json")
    assert scores(faces, out, tmp_path / "onnx.json") == pytest.approx(expected, abs=1e-2)


def test_the_shipped_weights_in_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled, out = write_folder(tmp_path / "faces", 6), tmp_path / "small.onnx"
    run("export", f"--out={out}", "--precision=int8", f"--images={labelled}")
    message = capsys.readouterr().err
    assert f"int8: calibrated on 6 images of {labelled}" in message
    before, after = message.split("changes the NME from ")[1].split(" (")[0].split(" to ")
    assert float(after.split()[0]) == pytest.approx(scores(labelled, out, tmp_path / "small.json"), abs=1e-3)
    assert float(before.split()[0]) == pytest.approx(scores(labelled, DEFAULT_WEIGHTS, tmp_path / "a.json"), abs=1e-3)
    copy = load_landmarker(out)
    assert isinstance(copy, ExportedLandmarker)
    assert copy.about.precision == "int8"
    assert "research use only" in copy.about.terms
    assert copy(torch.rand(3, 3, copy.image_size, copy.image_size)).uncertainty is not None


def test_without_labels_it_is_said_how_far_landmarks_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unlabelled, out = write_folder(tmp_path / "faces", 4, "unlabelled"), tmp_path / "half.onnx"
    run("export", f"--out={out}", "--precision=fp16", f"--images={unlabelled}")
    message = capsys.readouterr().err
    moved = message.split("fp16 moves landmarks by ")[1]
    assert moved.splitlines()[0].endswith(f"on {unlabelled}, which has no labels")
    assert 0 < float(moved.split(" %")[0]) < 0.5
    assert out.stat().st_size < 4_000_000


class Wrong(Landmarker):
    """It finds what its ONNX form, traced with a batch of two, does not."""

    image_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.rand(68, 2))

    def forward(self, images: torch.Tensor) -> LandmarkerOutput:
        found = self.place + 0.1 * len(images) + 0 * images.mean((1, 2, 3))[:, None, None]
        return LandmarkerOutput(found[:, None])

    def loss(self, output: LandmarkerOutput, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        raise NotImplementedError


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = f"--out={tmp_path}/model.onnx"
    assert "--precision=int8: found no --images" in refused(capsys, "export", out, "--precision=int8")
    assert "expected one of .onnx" in refused(capsys, "export", f"--out={tmp_path}/model.pt")
    assert "no weights file none.ckpt" in refused(capsys, "export", "none.ckpt", out)
    foreign = write_fixed_points(tmp_path / "foreign.onnx", torch.rand(136).numpy())
    assert "foreign.onnx: found an ONNX file without this project's metadata" in refused(capsys, "export", foreign, out)
    message = refused(capsys, "evaluate", f"--ckpt={foreign}", f"--test={write_folder(tmp_path / 'faces', 2)}")
    assert "configs/peers/pfld.yaml" in message
    exported = module.about_of(Wrong(), {}, "wrong")
    assert exported.terms.startswith("unknown")
    monkeypatch.setattr(module, "load_landmarker", lambda path: Wrong().eval())
    message = refused(capsys, "export", out)
    assert "Wrong differs from it on noise: found landmarks or uncertainties up to 0.1 of the crop apart" in message
    assert not (tmp_path / "model.onnx").exists()
