"""`curves`: logged values to a picture."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments import curves
from experiments.chart import COLOURS, HEIGHT, SHADE, Panel
from tests.experiments.helpers import refused, run

ALTERNATING = ["warper", "proximal", "proximal", "proximal"] * 2


def write_run(folder: Path, phases: list[str], nme: dict[str, list[float]], **options: Any) -> Path:
    """A run's folder, as `train` leaves it."""
    folder.mkdir(parents=True)
    config = {
        "run": {"setting": "own", "method": "face_warping"},
        "paths": {"data": "synthetic"},
        "seed_everything": options.get("seed", 0),
        "model": {"init_args": {"optimization": "joint" if phases[0] == "joint" else "alternating"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with (folder / "nme.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("epoch", "phase", "subset", "nme", "fr@8", "auc@8", "n"))
        for epoch, phase in enumerate(phases):
            writer.writerows((epoch, phase, name, f"{values[epoch]:.6f}", 0, 0, 5) for name, values in nme.items())
    if "start" in options:
        start = {name: {"nme": value} for name, value in options["start"].items()}
        content = {"data": options.get("data", "files"), "source_only": {"test": start}}
        (folder / "metrics.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    falling = [10.5, 10.2, 10.0, 9.9, 10.3, 10.0, 9.8, 9.7]
    photos = [2.3, 2.2, 2.2, 2.2, 2.4, 2.3, 2.2, 2.2]
    start = {"own": 10.9, "own_source": 2.1}
    return [
        write_run(tmp_path / "a", ALTERNATING, {"own": falling, "own_source": photos}, start=start),
        write_run(
            tmp_path / "b", ["joint"] * 8, {"own": [x + 0.2 for x in falling], "own_source": photos}, start=start
        ),
    ]


def test_what_is_read(pair: list[Path]) -> None:
    found = curves.read_run(pair[0])
    assert (found.name, found.seed, found.synthetic) == ("face_warping, alternating", "0", False)
    assert found.nme["own"] == [
        (0, 10.9),
        (1, 10.5),
        (2, 10.2),
        (3, 10.0),
        (4, 9.9),
        (5, 10.3),
        (6, 10.0),
        (7, 9.8),
        (8, 9.7),
    ]
    assert found.phases == ALTERNATING
    assert curves.read_run(pair[1]).name == "face_warping, joint"


def test_warper_phases_are_shaded() -> None:
    assert curves.shaded_epochs(ALTERNATING) == [(0, 1), (4, 5)]
    assert curves.shaded_epochs(["warper", "warper", "proximal"]) == [(0, 2)]
    assert curves.shaded_epochs(["joint"] * 3) == []


def test_a_picture_of_two_runs(pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Panel] = []
    draw = curves.chart

    def watched(panels: list[Panel], *rest: Any) -> Any:
        seen.extend(panels)
        assert rest == ("epoch", "NME in %", ["shaded: warper phase"])
        return draw(panels, *rest)

    monkeypatch.setattr(curves, "chart", watched)
    run("curves", *pair, f"--out={tmp_path}/figure7.png")
    page = np.asarray(Image.open(tmp_path / "figure7.png"))
    assert page.shape[0] > HEIGHT
    assert [panel.title for panel in seen] == ["own", "own_source"]
    assert [line.name for line in seen[0].lines] == ["face_warping, alternating", "face_warping, joint"]
    assert seen[0].shaded == [(0, 1), (4, 5)]
    for colour in (*COLOURS[:2], SHADE):
        assert (page == colour).all(axis=2).sum() > 500


def test_unfinished_and_synthetic_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [write_run(tmp_path / str(seed), ["joint"] * 2, {"own": [3.0, 2.0]}, seed=seed) for seed in (0, 1)]
    drawn = write_run(tmp_path / "drawn", ["joint"], {"own": [3.0]}, start={"own": 4.0}, data="synthetic")
    seen: list[Any] = []
    monkeypatch.setattr(curves, "chart", lambda *a: seen.append(a) or np.zeros((4, 4, 3), np.uint8))
    run("curves", *runs, f"--out={tmp_path}/x.png")
    assert [line.name for line in seen[0][0][0].lines] == ["face_warping, joint, seed 0", "face_warping, joint, seed 1"]
    assert seen[0][0][0].lines[0].points == [(1, 3.0), (2, 2.0)]
    assert seen[0][3] == []
    run("curves", drawn, runs[0], f"--out={tmp_path}/x.png", "--names", "one", "two")
    assert [line.name for line in seen[1][0][0].lines] == ["one", "two"]
    assert seen[1][3] == ["SYNTHETIC faces: not results"]


def test_mistakes(pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = f"--out={tmp_path}/x.png"
    assert "no such file. Give the folder of a run" in refused(capsys, "curves", str(tmp_path), out)
    assert "Did you mean 'own'?" in refused(capsys, "curves", str(pair[0]), out, "--figures", "owm")
    assert "1 names for 2 runs" in refused(capsys, "curves", *map(str, pair), out, "--names", "a")
    assert "expected one of .png" in refused(capsys, "curves", str(pair[0]), f"--out={tmp_path}/x.gif")
    (pair[1] / "nme.csv").write_text("epoch,phase,figure,nme\n")
    assert "expected rows of epoch" in refused(capsys, "curves", str(pair[1]), out)
