"""What a run may be gone on with as, and what not; a refusal changes nothing of the run."""

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.errors import UsageError
from experiments.run.resuming import check_resumed
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import RESUMING, refused

pytestmark = RESUMING

BEGUN: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {
        "max_epochs": 4,
        "precision": "32-true",
        "devices": 1,
        "logger": True,
        "callbacks": [{"class_path": "callbacks.cost.CostReport"}],
    },
    "model": {"class_path": "methods.Stylize", "init_args": {"learning_rate": 1e-3, "milestones": [1, 2]}},
    "data": {"batch_size": 4, "num_workers": 0, "source": [{"class_path": "Folder", "init_args": {"root": "photos"}}]},
    "pretraining": {"max_epochs": 3, "checkpoint": None},
    "paths": {"runs": "runs", "source": "photos"},
    "run": {"profile": "quick"},
}
AVERAGE = {"class_path": "callbacks.weight_average.WeightAverage", "init_args": {"decay": 0.995}}
FACES = {"source": "a", "target": "b", "tests": "c"}


def gone_on(folder: Path, faces: dict[str, str] | None = None, noted: dict[str, Any] | None = None, **now: Any) -> None:
    """Go on, after two of four epochs, with some options by their dotted names."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(BEGUN))
    changed = deepcopy(BEGUN)
    for name, value in now.items():
        *path, last = name.split("__")
        inner = changed
        for key in path:
            inner = inner[key]
        inner[last] = value
    checkpoint = {"epoch": 1, **({"faces": FACES} if noted is None else noted)}
    check_resumed(folder, changed, checkpoint, faces or FACES)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"seed_everything": 1}, "seed_everything was 0 and is 1"),
        ({"model__init_args__milestones": [1, 3]}, "model.init_args.milestones.1 was 2 and is 3"),
        ({"model__class_path": "methods.FaceWarping"}, "model was Stylize and is FaceWarping"),
        ({"data__batch_size": 8}, "data.batch_size was 4 and is 8"),
        ({"pretraining__max_epochs": 5}, "pretraining.max_epochs was 3 and is 5"),
        ({"pretraining__checkpoint": "a.ckpt"}, "pretraining.checkpoint was None and is "),
        ({"trainer__precision": "bf16-mixed"}, "trainer.precision was 32-true and is bf16-mixed"),
        ({"trainer__callbacks": [AVERAGE]}, "EMA"),
        ({"trainer__max_epochs": 1}, "has done 2 epochs, and trainer.max_epochs is 1. Give 2 or more"),
    ],
)
def test_as_something_else_it_is_refused(tmp_path: Path, now: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        gone_on(tmp_path, **now)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"trainer__max_epochs": 6}, "trainer.max_epochs was 4 and is 6"),
        ({"trainer__max_epochs": 3}, "trainer.max_epochs was 4 and is 3"),
        ({"model__init_args__learning_rate": 0.1}, "model.init_args.learning_rate was 0.001 and is 0.1"),
        ({"trainer__devices": 2}, "trainer.devices was 1 and is 2"),
        ({"trainer__logger": False}, ""),
        ({"data__num_workers": 3}, ""),
        ({"paths__runs": "elsewhere"}, ""),
        ({"run__profile": "mine"}, ""),
        ({"trainer__callbacks": []}, ""),
        ({"data__of_a_later_version": 1}, ""),
    ],
)
def test_longer_or_elsewhere_it_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, now: dict[str, Any], said: str
) -> None:
    with caplog.at_level(logging.WARNING):
        gone_on(tmp_path, **now)
    assert caplog.text.count("goes on with another") == bool(said)
    assert said in caplog.text


def test_faces_are_compared_by_what_they_are_and_not_by_where(tmp_path: Path) -> None:
    moved = [{"class_path": "Folder", "init_args": {"root": "/elsewhere/photos"}}]
    gone_on(tmp_path, data__source=moved)
    with pytest.raises(UsageError, match="the faces of target are not those that the run was begun with"):
        gone_on(tmp_path, faces={**FACES, "target": "repainted"})


def test_checkpoints_of_earlier_versions_noted_no_faces(tmp_path: Path) -> None:
    same = [{"class_path": "Folder", "init_args": {"root": str(Path("photos").resolve())}}]
    gone_on(tmp_path, noted={}, data__source=same)
    other = [{"class_path": "Folder", "init_args": {"root": "other"}}]
    with pytest.raises(UsageError, match=r"data\.source\.0\.init_args\.root was photos and is other"):
        gone_on(tmp_path, noted={}, data__source=other)


def test_a_refusal_leaves_the_run_as_it_is(drawn_run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    kept = ("config.yaml", "metrics.json", "nme.csv", "checkpoints/last.ckpt")
    before = [(drawn_run.folder / name).read_bytes() for name in kept]
    message = refused(capsys, *drawn_run.command, "--resume", "--model.init_args.optimization=joint")
    assert "model.init_args.optimization was " in message
    assert "and is joint" in message
    assert [(drawn_run.folder / name).read_bytes() for name in kept] == before
