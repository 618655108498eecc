"""``import warpmark``: cheap, and the same faces from every kind of picture."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import warpmark
from datamodules.faces import DataError
from prediction.detection.fixed import WholeImage
from tests.prediction.drawn import drawn_face, group, landscape, save
from warpmark.landmarker import FaceLandmarker, as_rgb

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return warpmark.load()


def test_importing_is_cheap() -> None:
    said = "import sys, warpmark; print([name for name in ('torch', 'cv2', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"load", "FaceLandmarker", "PredictedFace"} <= set(dir(warpmark))
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        warpmark.laod  # noqa: B018


def test_a_face(landmarker: FaceLandmarker) -> None:
    truth = drawn_face().landmarks
    assert truth is not None
    (face,) = landmarker(drawn_face().image)
    assert face.landmarks.shape == (68, 2)
    assert face.uncertainty.shape == (68,)
    errors = np.linalg.norm(face.landmarks - truth, axis=1)
    assert errors.mean() / np.linalg.norm(truth[36] - truth[45]) < 0.12
    np.testing.assert_array_equal(face.box, [*face.landmarks.min(0), *face.landmarks.max(0)])
    assert 0.6 <= face.score <= 1


def test_every_kind_of_picture_is_the_same(tmp_path: Path) -> None:
    image = drawn_face().image
    planes = torch.from_numpy(image).permute(2, 0, 1)
    path = save(tmp_path / "a.png", image)
    kinds: list[Any] = [path, str(path), Image.fromarray(image), image, planes, planes.float() / 255]
    for kind in kinds:
        np.testing.assert_array_equal(as_rgb(kind), image)
    grey = image[:, :, 0]
    for kind in (grey, Image.fromarray(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(as_rgb(kind), grey[:, :, None].repeat(3, 2))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.zeros(1, 3, 8, 8), r"found a tensor of shape \(1, 3, 8, 8\)"),
        (torch.zeros(8, 8, 3), r"found a tensor of shape \(8, 8, 3\)"),
        (torch.zeros(3, 8, 8).long(), "torch.int64"),
        (torch.full((3, 8, 8), 255.0), "values from 255 to 255"),
        (torch.full((3, 8, 8), torch.nan), "expected floats in"),
        (np.zeros((8, 8, 3)), "float64"),
        ("nowhere.png", "no such file"),
    ],
)
def test_what_is_no_picture(wrong: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        as_rgb(wrong)


def test_batches(landmarker: FaceLandmarker, tmp_path: Path) -> None:
    pictures = [save(tmp_path / "a.png", group(0, 1)), landscape(), Image.fromarray(drawn_face(2).image)]
    found = list(landmarker.batch(iter(pictures)))
    assert [len(faces) for faces in found] == [2, 0, 1]
    (alone,) = landmarker(pictures[2])
    np.testing.assert_allclose(found[2][0].landmarks, alone.landmarks, atol=0.01)


def test_a_detector_of_ones_own() -> None:
    assert len(warpmark.load(detector=WholeImage())(drawn_face().image)) == 1
    assert len(warpmark.load("warpmark-light", "whole", turned=False)(drawn_face().image)) == 1


def test_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "portrait.png", drawn_face().image)
    monkeypatch.setattr(sys, "argv", ["landmarks.py", str(path)])
    runpy.run_path(str(ROOT / "examples/landmarks.py"))
    assert "a face with confidence 0.9" in capsys.readouterr().out
    assert len((ROOT / "examples/landmarks.py").read_text().splitlines()) <= 15, "it fits on a postcard"
