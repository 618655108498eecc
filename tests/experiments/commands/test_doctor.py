"""``doctor``: one screen about the machine, as JSON too, and what it says where something is wrong."""

import importlib.metadata
import json
from pathlib import Path

import pytest

import experiments.commands.doctor as doctor
import warpmark
from tests.experiments.helpers import run


def test_one_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not to be shown")
    run("doctor")
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 50
    assert "not to be shown" not in said
    for name in ("Python", "torch", "GPU", "CPU", "onnxruntime", "Slurm"):
        assert name in said
    assert said.count("load: ") == 2
    assert "W&B login            found" in said


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("doctor", "--json")
    items = json.loads(capsys.readouterr().out)
    found = {item["name"]: item["found"] for item in items if item["group"] == "versions"}
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["warpmark"].startswith(warpmark.__version__)


def test_damaged_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "warpmark-light.safetensors"
    file.write_bytes(b"half of it")
    monkeypatch.setattr(doctor, "shipped", lambda: {str(file): file})
    with pytest.raises(SystemExit) as exit_:
        run("doctor")
    said = capsys.readouterr().out
    assert exit_.value.code == 1
    assert "do not load" in said
    assert f"! {file}" in said


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ['there-is-no-such-package>=1; extra == "odd"'])
    (item,) = doctor.extras()
    assert item == doctor.Item("optional", "odd", 'there-is-no-such-package not installed   (pip install ".[odd]")')


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    run("--version")
    assert capsys.readouterr().out == f"warpmark {warpmark.__version__}\n"
