"""``bench-predict``: it runs, on drawn pictures that hold what their boxes say; no figure is tested."""

from pathlib import Path

import pytest

from datamodules.files import read_face
from experiments.bench.prediction import draw_pictures, speed
from lightning_modules.landmarkers.base import Landmarker
from prediction.detection.fixed import GivenBoxes
from prediction.images import list_pictures
from prediction.predictor import Predictor
from tests.experiments.helpers import refused, run
from tests.prediction.test_predictor import Saying


def test_drawn_pictures(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 3)
    paths = list_pictures(tmp_path)
    assert len(paths) == 3
    for path in paths:
        face = read_face(path)
        assert face.image.shape == (480, 640, 3)
        assert face.box is not None
        assert 100 < (face.box[2:] - face.box[:2]).max() < 320


def test_speed_counts_faces(tmp_path: Path, tiny_landmarker: Landmarker) -> None:
    draw_pictures(tmp_path, 3)
    paths = list_pictures(tmp_path)
    found = speed(Predictor(tiny_landmarker, Saying([], []), turned=False), paths, None, rounds=1)
    assert found.faces == 0
    assert found.pictures > 0
    given = speed(Predictor(tiny_landmarker, Saying([], []), turned=False), paths, GivenBoxes(tmp_path), rounds=1)
    assert given.faces == given.pictures


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run("bench-predict", "--pictures=2", "--rounds=1", "--frames=4", f"--peers={tmp_path}")
    said = capsys.readouterr()
    assert "start to first result" in said.out
    assert "frames/s" in said.out
    assert "pfld is left out: there is no network file" in said.err
    assert "PEER=nobody is not known" in refused(capsys, "bench-predict", "--pictures=2", "--peer=nobody")
