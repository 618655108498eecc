"""How fast a video's faces are found: read, tracked, drawn and written."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.synthetic import draw_face
from prediction.predictor import Predictor
from prediction.tracking import Tracking
from prediction.video import Video, VideoWriter
from prediction.video_outputs import FrameOutputName, predict_video

_RATE = 30
_REACH = 0.2
"""How far the face moves to either side, as a share of the picture's height."""


@dataclass(frozen=True)
class VideoSpeed:
    """Frames a second.

    Attributes:
        wall: by the clock.
        cpu: by the CPU time of all threads: what one undisturbed core does.
        found: share of frames in which a face was found.
    """

    wall: float
    cpu: float
    found: float


def moving_face(picture: ByteArray, frames: int, width: int = 640, height: int = 480) -> list[ByteArray]:
    """Frames in which a picture, two thirds as high as they are, moves to and fro once in two seconds.

    Args:
        picture: RGB, uint8, shape ``(H, W, 3)``; its edge goes on around it.
        frames: how many.
        width: of a frame, in pixels.
        height: likewise.
    """
    scale = 2 / 3 * height / picture.shape[0]
    made = []
    for i in range(frames):
        x = (width - scale * picture.shape[1]) / 2 + _REACH * height * np.sin(np.pi * i / _RATE)
        matrix = np.array([[scale, 0, round(x)], [0, scale, round(height / 6)]])
        frame = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        made.append(np.asarray(frame, dtype=np.uint8))
    return made


def video_speed(
    predictor: Predictor,
    frames: int = 150,
    outputs: Sequence[FrameOutputName] = get_args(FrameOutputName),
    how: Tracking = Tracking(),  # noqa: B008 - frozen
    picture: ByteArray | None = None,
    rounds: int = 2,
) -> VideoSpeed:
    """Measure :func:`prediction.video_outputs.predict_video`, from the file to its files; the best round counts.

    Args:
        predictor: finds the faces; it is used once before the clock starts.
        frames: of a video of 640×480 pixels with one face that moves.
        outputs: what is written.
        how: how faces are tracked and smoothed.
        picture: of the face, RGB, uint8, ``(H, W, 3)``; a drawn one if None.
        rounds: how often it is measured.
    """
    shown = moving_face(draw_face("photo", 0, 0, 320)[0] if picture is None else picture, frames)
    predictor(shown[0])
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source.mp4"
        writer = VideoWriter(source, shown[0].shape[1], shown[0].shape[0])
        for i, frame in enumerate(shown):
            writer.add(frame, i / _RATE)
        writer.close()
        best = VideoSpeed(0.0, 0.0, 0.0)
        for _ in range(rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            seen = predict_video(predictor, source, Path(name) / "out", how, outputs)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found = 1 - seen.without / seen.frames
            best = max(best, VideoSpeed(seen.frames / wall, seen.frames / cpu, found), key=lambda speed: speed.cpu)
    return best


def decoding_speed(source: Path) -> float:
    """Frames of a video that are decoded in a second of CPU time."""
    began = time.process_time()
    with Video.open(source) as video:
        count = sum(1 for _ in video.frames())
    return count / max(time.process_time() - began, 1e-9)
