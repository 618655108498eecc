"""``pack``: a run's landmarker as a small file, and what it refuses."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from experiments.checkpoints import load_landmarker
from experiments.commands import pack as module
from lightning_modules.weights import Provenance, read_tensors
from tests.experiments.conftest import FinishedRun, OwnFolders
from tests.experiments.helpers import checkpoint, merged, refused, run

SAID = ["--made-by=make train SEED=0", "--trained-on=8 drawn faces"]


def last(of: FinishedRun) -> str:
    return f"--ckpt={of.folder}/checkpoints/last.ckpt"


def test_a_run_is_packed_with_where_it_comes_from(
    own_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "tiny.safetensors"
    run("pack", last(own_run), "--name=tiny", f"--out={out}", *SAID)
    message = capsys.readouterr().err
    assert f"wrote {out}: {out.stat().st_size:,} bytes" in message
    origin = read_tensors(out)["provenance"]
    assert isinstance(origin, Provenance)
    assert (origin.command, origin.trained_on) == ("make train SEED=0", "8 drawn faces")
    assert origin.version.startswith("warpmark ")
    source, target = origin.data.split(", ")
    assert source.startswith("source ")
    assert source.endswith(" (9 faces)")
    assert target.startswith("target unlabelled(")
    assert target.endswith(" (5 faces)")
    assert str(tmp_path) not in str(origin)
    before, after = load_landmarker(last(own_run).removeprefix("--ckpt=")), load_landmarker(out)
    assert type(before) is type(after)
    assert not after.training
    images = torch.rand(2, 3, before.image_size, before.image_size)
    with torch.no_grad():
        moved = (before(images).landmarks - after(images).landmarks).abs().max()
    assert 0 < moved < 1e-3
    # The largest move is measured, not assumed.
    assert 0 < float(message.split("moves a landmark by at most ")[1].split()[0]) < 1
    # And the ONNX form of what was packed, which is not of what was before.
    other = load_landmarker(tmp_path / "new" / "tiny.onnx")
    assert f"wrote {tmp_path}/new/tiny.onnx: " in message
    with torch.no_grad():
        torch.testing.assert_close(other(images).landmarks, after(images).landmarks, rtol=0, atol=1e-5)


def test_packed_weights_are_scored_and_started_from_as_a_checkpoint(
    drawn_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny.safetensors"
    run("pack", last(drawn_run), "--name=tiny", f"--out={out}", *SAID)
    run("evaluate", f"--ckpt={out}", f"--test={own_folders.test}", f"--out={tmp_path}/scores.json")
    assert f"using the weights {out} (warpmark" in capsys.readouterr().err
    run(
        *drawn_run.command, f"--pretraining.checkpoint={out}", f"--paths.runs={tmp_path}/runs", "--trainer.max_epochs=1"
    )
    assert "trained on 8 drawn faces: for research use only" in capsys.readouterr().err
    assert not (tmp_path / "runs/pretrained").exists()


def test_the_faces_of_a_run_are_told_without_its_networks_and_its_device(
    own_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of PROFILE=paper: ImageNet weights come from a hub, and it was trained on a GPU."""
    run("pack", last(own_run), "--name=here", f"--out={tmp_path}/here.safetensors", *SAID)
    folder = tmp_path / "run"
    shutil.copytree(own_run.folder, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["init_args"]["landmarker"] = {"class_path": "nowhere.Network"}
    config["trainer"] |= {"accelerator": "cuda", "devices": 8}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run("pack", f"--ckpt={folder}/checkpoints/last.ckpt", "--name=there", f"--out={tmp_path}/there.safetensors", *SAID)
    here, there = (read_tensors(tmp_path / f"{name}.safetensors")["provenance"] for name in ("here", "there"))
    assert here == there
    (folder / "config.yaml").write_text("data: {sorce: []}\npaths: {data: x}\nseed_everything: 0\n")
    command = ["pack", f"--ckpt={folder}/checkpoints/last.ckpt", "--name=there", f"--out={tmp_path}/there.safetensors"]
    message = refused(capsys, *command, *SAID)
    assert f"{folder}/config.yaml: found ArgumentError" in message
    assert "or give --fingerprints" in message


def test_what_is_refused(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["pack", last(drawn_run), *SAID]
    out = tmp_path / "tiny.safetensors"
    assert "--made_by must be given" in refused(capsys, "pack", last(drawn_run), "--name=tiny", SAID[1])
    assert "NAME=My Weights: expected lower-case" in refused(capsys, *command, "--name=My Weights")
    assert "found another name than NAME=small" in refused(capsys, *command, "--name=small", f"--out={out}")
    message = refused(capsys, *command, "--name=tiny", f"--out={tmp_path}/tiny.pt")
    assert "expected one of .safetensors" in message
    lonely = tmp_path / "lonely" / "a.ckpt"
    lonely.parent.mkdir()
    lonely.write_bytes(Path(last(drawn_run).removeprefix("--ckpt=")).read_bytes())
    message = refused(capsys, "pack", f"--ckpt={lonely}", *SAID, "--name=tiny", f"--out={out}")
    assert "config.yaml, which says what it was trained on" in message
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    message = refused(capsys, *command, "--name=tiny", f"--out={out}")
    assert "expected at most 1,000. Train a lighter form" in message
    assert not out.exists()


def test_weights_that_overflow_are_refused(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint(Path(last(drawn_run).removeprefix("--ckpt=")))
    name = next(key for key, value in content["state_dict"].items() if value.is_floating_point())
    huge = {"state_dict": {name: torch.full_like(content["state_dict"][name], 1e6)}}
    torch.save(merged(content, huge), tmp_path / "huge.ckpt")
    out = tmp_path / "tiny.safetensors"
    options = ["--name=tiny", f"--out={out}", *SAID, "--fingerprints=none"]
    message = refused(capsys, "pack", f"--ckpt={tmp_path}/huge.ckpt", *options)
    assert f"{name.removeprefix('landmarker.')}: found values up to 1e+06" in message
    assert not out.exists()
