"""Smoothing as it is by default, on drawn faces with the shipped weights: how steady, and how far behind.

The default was chosen on other, real faces; see :class:`prediction.smoothing.OneEuro`.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
import torch

from datamodules.synthetic import draw_face
from datamodules.transforms import apply_matrix
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from lightning_modules.landmarkers.base import Landmarker
from prediction.detection.base import Detections
from prediction.predictor import Predictor
from prediction.tracking import Tracker, Tracking, follower

RATE, SIZE = 30.0, 256


@pytest.fixture(scope="module")
def landmarker() -> Iterator[Landmarker]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_landmarker(DEFAULT_WEIGHTS)
    torch.set_num_threads(threads)


def moved(x: float, y: float, zoom: float) -> np.ndarray:
    """From the drawing's pixels (192) to a frame's, whose middle shows the drawing's middle, moved and zoomed."""
    return np.array([[zoom, 0, SIZE / 2 - 96 * zoom + x], [0, zoom, SIZE / 2 - 96 * zoom + y]])


def found(landmarker: Landmarker, matrices: Sequence[np.ndarray], how: Tracking) -> np.ndarray:
    """Landmarks of a drawn caricature in each frame, ``(F, 68, 2)``; with noise, and compressed as JPEG."""
    drawing, geometry = draw_face("caricature", 3, 1)
    rng = np.random.default_rng(0)
    box = apply_matrix(matrices[0], np.stack([geometry.landmarks.min(0), geometry.landmarks.max(0)])).reshape(1, 4)
    predictor = Predictor(landmarker, lambda image: Detections(box, np.ones(1)))
    tracker, points = Tracker(predictor, how, follower(predictor)), []
    for i, matrix in enumerate(matrices):
        frame = cv2.warpAffine(drawing, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
        noisy = np.clip(frame + rng.normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 80])
        (face,) = tracker(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), i / RATE)
        assert face.track == 1
        points.append(face.landmarks)
    return np.stack(points)


def lag(points: np.ndarray, matrices: Sequence[np.ndarray], still: np.ndarray) -> float:
    """How many frames ago the true motion of landmarks was where they are said to be."""
    true = np.stack([apply_matrix(matrix, still) for matrix in matrices])
    at = np.arange(6, len(true))
    shifts, errors = np.arange(-1, 5, 0.05), []
    for shift in shifts:
        before = np.floor(at - shift).astype(int).clip(0, len(true) - 2)
        share = (at - shift - before)[:, None, None]
        errors.append(np.square(points[at] - (1 - share) * true[before] - share * true[before + 1]).mean())
    return float(shifts[int(np.argmin(errors))])


def test_a_resting_face_moves_less_by_60_percent(landmarker: Landmarker) -> None:
    matrices = [moved(0, 0, 1.0)] * 24
    raw = found(landmarker, matrices, Tracking(smoothing=None, every=100))
    smooth = found(landmarker, matrices, Tracking(every=100))
    movement = [np.linalg.norm(np.diff(points[4:], axis=0), axis=2).mean() for points in (raw, smooth)]
    assert movement[1] <= 0.4 * movement[0]


@pytest.mark.parametrize("motion", ["sway", "zoom"])
def test_a_moving_face_is_not_more_than_a_frame_behind(landmarker: Landmarker, motion: str) -> None:
    times = np.arange(24) / RATE
    moves = {
        "sway": [moved(round(30 * np.sin(5 * t)), round(10 * np.sin(3 * t)), 1.0) for t in times],
        "zoom": [moved(0, 0, 1 + 0.5 * t) for t in times],
    }
    matrices = moves[motion]
    points = found(landmarker, matrices, Tracking(every=100))
    # Of landmarks that are found wrong, but alike in all frames, only the motion counts.
    raw = found(landmarker, matrices, Tracking(smoothing=None, every=100))
    back = [cv2.invertAffineTransform(matrix) for matrix in matrices]
    still = np.mean([apply_matrix(matrix, each) for matrix, each in zip(back, raw, strict=True)], axis=0)
    assert lag(points, matrices, still) <= 1.0
    assert abs(lag(raw, matrices, still)) <= 0.3
