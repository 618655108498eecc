"""What a cell's key holds: a finished cell is done as long as all of it is as it was."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.compose import Choices
from experiments.grids.cells import Runner
from experiments.grids.contents import CONFIGURATION, PICTURES, Contents
from experiments.grids.grid import Cell, Grid
from tests.layouts import write_folder

ROW = {"a": {"method": "supervised"}}
CHOICES = {"setting": "own", "landmarker": "slpt", "profile": "quick"}
CELL = Cell("a", None, 0)


def pretend(**options: Any) -> Path:
    """A ``train`` that takes no time."""
    trainers = [json.loads(layer).get("trainer", {}) for layer in options["config"]]
    folder = Path(next(trainer["default_root_dir"] for trainer in trainers if "default_root_dir" in trainer))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "config.yaml").write_text("{}")
    return folder


class Given(Runner):
    """A runner whose cells need no start."""

    def plain(self, cell: Cell) -> Any:
        class NoStart:
            def provide_start(self) -> None: ...

        return NoStart()


@pytest.fixture
def done(tmp_path: Path) -> Runner:
    """A runner on two folders, whose only cell is done."""
    folders = {"source": str(write_folder(tmp_path / "photos", 2, "pts"))}
    folders["target"] = str(write_folder(tmp_path / "drawings", 2, "cariface", seed=5))
    runner = Given(Grid("some", CHOICES, ROW, [0]), folders, tmp_path / "out", pretend)
    runner.run(CELL)
    assert runner.is_done(CELL)
    return runner


def again(runner: Runner, **changes: Any) -> Runner:
    """The same in another process, or with something changed."""
    return replace(runner, **changes)


def test_it_stays_done_when_data_are_copied_or_touched(done: Runner) -> None:
    for path in Path(done.folders["target"]).rglob("*"):
        path.touch()
    (Path(done.folders["target"]) / "notes.md").write_text("my notes")
    assert again(done).is_done(CELL)


@pytest.mark.parametrize("role", ["source", "target"])
def test_corrected_labels_and_further_images(done: Runner, role: str) -> None:
    folder = Path(done.folders[role])
    label = sorted(path for path in folder.rglob("*") if path.suffix in (".pts", ".npy"))[0]
    before = label.read_bytes()
    if label.suffix == ".npy":
        np.save(label, np.load(label) + 1)
    else:
        label.write_bytes(before.replace(b"1", b"2"))
    assert f"what {folder} held before a change" in again(done).outdated(CELL)
    label.write_bytes(before)
    assert again(done).is_done(CELL)
    image = sorted(folder.rglob("*.jpg"))[0]
    (image.parent / "further.jpg").write_bytes(image.read_bytes())
    assert not again(done).is_done(CELL)


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_picture_painted_over_in_place(done: Runner, role: str) -> None:
    image = sorted(Path(done.folders[role]).rglob("*.jpg"))[0]
    before, about = image.read_bytes(), image.stat()
    image.write_bytes(before[:-2] + b"ab")
    os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert again(done).outdated(CELL) == f"what the pictures of {done.folders[role]} held before a change"
    image.write_bytes(before)
    assert again(done).is_done(CELL)


def test_cells_that_other_code_trained_are_known(done: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not done.is_of_other_code(CELL)
    monkeypatch.setattr("experiments.grids.cells.code", lambda: "another")
    assert done.is_of_other_code(CELL)
    assert done.is_done(CELL), "it is named, and shown"


def test_choices_budget_folders_and_the_files_of_choices(done: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        "budget": {"epochs": 1, "steps_per_epoch": 1},
        "choices": {**CHOICES, "profile": "paper"},
        "config": {"data": {"batch_size": 3}},
    }
    for name, value in other.items():
        assert "other choices" in again(done, grid=replace(done.grid, **{name: value})).outdated(CELL)
    test = {**done.folders, "test": done.folders["source"]}
    assert "other choices, folders" in again(done, folders=test).outdated(CELL)
    monkeypatch.setattr("experiments.grids.contents._of_yaml", lambda path: "changed")
    assert CONFIGURATION in again(done).outdated(CELL)


def test_what_is_outdated_is_made_anew_and_the_earlier_kept(done: Runner, caplog: pytest.LogCaptureFixture) -> None:
    changed = again(done, grid=replace(done.grid, budget={"epochs": 1, "steps_per_epoch": 1}))
    with caplog.at_level("WARNING"):
        changed.run(CELL)
    assert changed.is_done(CELL)
    assert "a-seed0: was made of other choices" in caplog.text
    assert (done.out / "a-seed0-earlier1/metrics.json").exists()


def test_a_kill_between_note_and_training_is_not_taken_for_done(done: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier choice left must never lie beside the note of a later one."""
    changed = again(done, grid=replace(done.grid, budget={"epochs": 1, "steps_per_epoch": 1}))

    def die(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(changed, train=die).run(CELL)
    assert not again(changed).is_done(CELL)


def test_cells_of_earlier_versions_stay_done(done: Runner) -> None:
    """Their notes say nothing of contents."""
    note = done.out / "a-seed0.json"
    content = json.loads(note.read_text())
    del content["contents"]
    note.write_text(json.dumps(content))
    assert again(done).is_done(CELL)


def test_files_that_a_configuration_names(tmp_path: Path) -> None:
    """A row's own data set or weights, in YAML alone."""
    folder = write_folder(tmp_path / "mine", 2, "pts")
    (tmp_path / "start.ckpt").write_text("weights")
    data = {"tests": [{"class_path": "datamodules.datasets.FolderDataModule", "init_args": {"root": str(folder)}}]}
    config = {
        "data": data,
        "pretraining": {"checkpoint": str(tmp_path / "start.ckpt")},
        "paths": {"runs": str(tmp_path)},
    }
    found = Contents().of(Choices(config=[config]))
    assert set(found) == {CONFIGURATION, str(folder), f"{PICTURES} {folder}", str(tmp_path / "start.ckpt")}
    (tmp_path / "start.ckpt").write_text("others")
    assert Contents().of(Choices(config=[config])) != found
