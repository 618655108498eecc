"""How fast faces are found in files, end to end: reading, detection, crops, landmarks."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import landmark_box
from datamodules.layout import BOX_COLUMNS
from prediction.detection.fixed import GivenBoxes
from prediction.pictures import predict_pictures
from prediction.predictor import Predictor

_SIZE = 640, 480
_FACE = 320


@dataclass(frozen=True)
class Speed:
    """Faces a second and pictures a second, of the fastest of several rounds."""

    faces: float
    pictures: float


def draw_pictures(folder: Path, count: int) -> None:
    """Write pictures of 640×480 pixels, each with a drawn face of about 200, and their boxes.csv."""
    faces = SyntheticDataModule(style="photo", train_count=1, test_count=count, size=_FACE).test_faces()
    rows = [",".join(BOX_COLUMNS)]
    rng = np.random.default_rng(0)
    for number in range(count):
        face = faces[number]
        assert face.landmarks is not None, "drawn faces are labelled"
        left, top = (int(rng.integers(0, most - _FACE + 1)) for most in _SIZE)
        right, bottom = _SIZE[0] - _FACE - left, _SIZE[1] - _FACE - top
        image = cv2.copyMakeBorder(face.image, top, bottom, left, right, cv2.BORDER_REPLICATE)
        name = f"{number:04d}.jpg"
        cv2.imwrite(str(folder / name), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        box = landmark_box(face.landmarks) + np.array([left, top, left, top])
        rows.append(",".join([name, *(f"{value:.2f}" for value in box)]))
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def speed(predictor: Predictor, paths: Sequence[Path], given: GivenBoxes | None, rounds: int) -> Speed:
    """Time a folder's pictures, the best of ``rounds`` after a short one that warms up.

    Args:
        predictor: finds the faces.
        paths: of the pictures.
        given: their boxes, in the place of the detector's.
        rounds: how often.
    """
    threads = min(4, os.cpu_count() or 1)
    list(predict_pictures(predictor, paths[:8], given, threads))
    best = Speed(0.0, 0.0)
    for _ in range(rounds):
        start = time.perf_counter()
        faces = sum(len(one.faces) for one in predict_pictures(predictor, paths, given, threads))
        seconds = time.perf_counter() - start
        best = max(best, Speed(faces / seconds, len(paths) / seconds), key=lambda found: found.pictures)
    return best


def first_result_seconds(picture: Path) -> float:
    """From the start of a fresh process to the landmarks of one picture, by the Python API."""
    program = "import sys, warpmark; print(len(warpmark.load()(sys.argv[1])))"
    start = time.perf_counter()
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program, str(picture.resolve())], cwd=root, check=True, capture_output=True)
    return time.perf_counter() - start
