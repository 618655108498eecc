"""The page docs/adding.md, done as it stands there: a data set, a landmarker, a method and a grid from outside."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.catalogue import CONFIGS
from tests.experiments.helpers import checkpoint, metrics, refused, rows, run, write_config
from tests.layouts import write_folder

BLOCK = re.compile(r"^```(python|yaml|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUICK = {"trainer": {"accelerator": "cpu", "max_epochs": 1}, "pretraining": {"max_epochs": 1}}


def blocks() -> list[tuple[str, str]]:
    """The page's blocks: their language and text."""
    return BLOCK.findall((CONFIGS.parent / "docs/adding.md").read_text())


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder, in which the program runs: the page's files, photos and busts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    for language, text in blocks():
        if language != "sh":
            path = Path(text.partition("\n")[0].removeprefix("# "))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    write_folder(tmp_path / "photos", 10, "pts")
    busts = write_folder(tmp_path / "busts", 8, "pts", seed=50)
    for file in sorted(busts.iterdir())[:6]:
        file.rename(file.with_name(f"roman_{file.name}"))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("busts", "moved_mean_face", "mean_agreement"):
            del sys.modules[name]


def commands() -> list[list[str]]:
    lines = [line for language, text in blocks() if language == "sh" for line in text.splitlines()]
    assert all(line.startswith("warpmark ") for line in lines)
    return [line.split()[1:] for line in lines]


def test_the_page_can_be_followed(
    outside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, evaluate, grid = commands()
    quick = write_config(outside / "quick.yaml", QUICK, {"data": {"batch_size": 4}})
    run(*train, quick)
    folder = outside / "runs/busts/mean_agreement-moved_mean_face/seed0"
    found = metrics(folder)
    assert (found["test"]["busts"]["n"], found["data"]) == (3, "files")
    assert found["source_only"] is not None
    assert "agreement: 0.1" in (folder / "config.yaml").read_text()
    last = checkpoint(folder / "checkpoints/last.ckpt")
    assert last["landmarker"]["class_path"] == "moved_mean_face.MovedMeanFace"
    assert list(outside.glob("runs/pretrained/movedmeanface-*/landmarker.ckpt"))

    run(*evaluate)
    assert len(rows(outside / "metrics.faces.csv")) == 8

    run(*grid, "--isolated=false", "--seeds", "0", "--rows", "labels alone", "agreement")
    table = (outside / "runs/grids/mine/table.md").read_text()
    assert all(f"| {row} " in table for row in ("labels alone", "agreement", "agreement, strong"))

    # Where the landmarker's module cannot be imported, the message says so.
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(outside))])
    sys.modules.pop("moved_mean_face")
    absolute = [word if word.startswith("--") else str(outside / word) for word in evaluate[1:]]
    message = refused(capsys, "evaluate", *absolute, f"--out={outside}/again.json")
    assert "its landmarker moved_mean_face.MovedMeanFace cannot be built" in message


def test_a_data_set_without_stand_ins(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", "--setting=busts", "--data=synthetic", write_config(outside / "q.yaml", QUICK))
    assert "has no stand-in faces. Give its files with DATA=ROOT, or add a `stand_in`" in message
