"""``curves``: logged values to a picture."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from callbacks.drawing import SYNTHETIC
from experiments.analysis.epochs import read_run
from experiments.commands.curves import curves
from experiments.errors import UsageError

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
        writer.writerow(("epoch", "phase", options.get("column", "subset"), "nme", "fr@8", "auc@8", "n"))
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


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that are written."""
    written: list[Figure] = []
    write = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda picture, file: (written.append(picture), write(picture, file)))
    return written


def legend(picture: Figure) -> list[str]:
    return [text.get_text() for text in picture.legends[0].get_texts()]


@pytest.mark.parametrize("column", ["subset", "figure"])
def test_what_is_read(pair: list[Path], column: str, tmp_path: Path) -> None:
    """Also of runs made when the column had another name."""
    found = read_run(pair[0])
    assert (found.name, found.seed, found.synthetic) == ("face_warping, alternating", "0", False)
    assert found.nme["own"][:3] == [(0, 10.9), (1, 10.5), (2, 10.2)]
    assert len(found.nme["own"]) == 9
    assert found.phases == ALTERNATING
    assert read_run(pair[1]).name == "face_warping, joint"
    older = write_run(tmp_path / column, ["joint"] * 2, {"own": [3.0, 2.0]}, column=column)
    assert read_run(older).nme == {"own": [(1, 3.0), (2, 2.0)]}


def test_a_picture_of_two_runs(pair: list[Path], tmp_path: Path, seen: list[Figure]) -> None:
    file = curves([*map(str, pair)], f"{tmp_path}/figure7.png")
    assert np.asarray(Image.open(file)).std() > 10
    (picture,) = seen
    assert [panel.get_title() for panel in picture.axes] == ["own", "own_source"]
    assert legend(picture) == ["face_warping, alternating", "face_warping, joint", "warper phase"]
    assert picture.get_suptitle() == ""
    for panel in picture.axes:
        shaded = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
        assert [(patch.get_x(), patch.get_width()) for patch in shaded] == [(0, 1), (4, 1)]
    for line, folder in zip(picture.axes[0].lines, pair, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_xydata()), read_run(folder).nme["own"])


def test_unfinished_synthetic_and_named_runs(tmp_path: Path, seen: list[Figure]) -> None:
    runs = [
        str(write_run(tmp_path / str(seed), ["joint"] * 2, {"own": [3.0, 2.0]}, seed=seed, start={"other": 1.0}))
        for seed in (0, 1)
    ]
    drawn = str(
        write_run(tmp_path / "drawn", ["joint"], {"own": [3.0], "b": [1.0], "c": [2.0]}, start={}, data="synthetic")
    )
    curves(runs, f"{tmp_path}/x.pdf")
    curves([drawn, runs[0]], f"{tmp_path}/x.png", names=("one", "two"), subsets=("c", "own"))
    assert legend(seen[0]) == ["face_warping, joint, seed 0", "face_warping, joint, seed 1"]
    assert legend(seen[1]) == ["one", "two"]
    assert [panel.get_title() for panel in seen[1].axes] == ["c", "own"]
    assert [picture.get_suptitle() for picture in seen] == ["", SYNTHETIC]
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": []}, "no runs"),
        ({"runs": ["{tmp}"]}, "config.yaml|nme.csv"),
        ({"subsets": ("owm",)}, "Did you mean 'own'"),
        ({"names": ("a",)}, "1 names for 2 runs"),
        ({"out": "x.gif"}, r"expected one of .png"),
        ({"runs": ["{tmp}/empty"]}, "no rows"),
    ],
)
def test_mistakes(pair: list[Path], tmp_path: Path, options: dict[str, Any], message: str) -> None:
    empty = write_run(tmp_path / "empty", ["joint"], {})
    assert (empty / "nme.csv").exists()
    runs = [name.format(tmp=tmp_path) for name in options.pop("runs", map(str, pair))]
    with pytest.raises(UsageError, match=message):
        curves(runs, **{"out": f"{tmp_path}/x.png", **options})
