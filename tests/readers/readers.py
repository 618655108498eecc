"""Every reader of files: what it is given, what it may raise, and what it must return."""

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from datamodules.checks.boxes import read_boxes
from datamodules.datasets.shapes import read_shapes
from datamodules.faces import DataError
from datamodules.formats import check_image, read_image, read_list, read_npy, read_pts
from experiments.artifacts.field_files import read_field
from experiments.checkpoints import load_landmarker, read_checkpoint, read_landmarker
from experiments.errors import CheckpointError, UsageError
from experiments.grids.grid import read_grid
from experiments.sweeps.sweep import read_sweep
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.landmarkers.reference_shape import read_face
from lightning_modules.landmarkers.slpt.slpt import _read_mean_face
from lightning_modules.landmarkers.spiga.face_3d import read_face_3d
from lightning_modules.weights import WeightsError, read_state, shipped
from tests.readers import inputs

SECONDS = 10
SAID = (DataError, UsageError, CheckpointError, WeightsError)
"""Errors that are printed as one line."""


class Hang(BaseException):
    """No reader may catch it."""


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        suffix: of the files it is given.
        read: of a path.
        given: what the files hold.
        right: whether a result is of the right form.
    """

    suffix: str
    read: Callable[[Path], Any]
    given: st.SearchStrategy[bytes]
    right: Callable[[Any], bool] = lambda result: result is not None


def _is_face(points: Any) -> bool:
    return points.shape == (68, 2) and points.dtype == np.float32 and bool(np.isfinite(points).all())


def _image(path: Path) -> tuple[Any, Any]:
    try:
        checked = check_image(path)
    except DataError:
        checked = None
    try:
        return checked, read_image(path)
    except DataError:
        # What was checked is trained on: it must be readable then.
        assert checked is None, "checked, and cannot be read"
        raise


def _mean_face(path: Path) -> Any:
    return read_face(path, _read_mean_face, 2)


def _is_image(result: tuple[Any, Any]) -> bool:
    checked, image = result
    sized = checked is None or (checked.height, checked.width) == image.shape[:2]
    return bool(sized and image.dtype == np.uint8 and image.shape[2:] == (3,))


def _are_boxes(boxes: dict[str, Any]) -> bool:
    return all(box.shape == (4,) and np.isfinite(box).all() and (box[:2] < box[2:]).all() for box in boxes.values())


def readers() -> dict[str, Reader]:
    """By name."""
    names = {"a.jpg", "b.jpg"}
    onnx = shipped()["warpmark-light"].with_suffix(".onnx").read_bytes()
    return {
        "pts": Reader(".pts", read_pts, inputs.PTS_TEXT, _is_face),
        "npy": Reader(".npy", read_npy, inputs.binary(inputs.ARRAYS), _is_face),
        "image": Reader(".jpg", _image, inputs.binary(inputs.PICTURES), _is_image),
        "boxes": Reader(
            ".csv",
            lambda path: read_boxes(path, names),
            inputs.text(['"', ",", ";", "a.jpg,", "1"], inputs.BOXES),
            _are_boxes,
        ),
        "list": Reader(".txt", read_list, inputs.text(["a.jpg\n", " ", "\t"], inputs.LISTS)),
        "shapes": Reader(".npy", read_shapes, inputs.binary(inputs.SHAPES), lambda shapes: shapes.shape[1:] == (68, 2)),
        "mean face": Reader(".npy", _mean_face, inputs.binary(inputs.ARRAYS), lambda face: face.shape == (68, 2)),
        "mean face in 3-D": Reader(
            ".txt",
            lambda path: read_face(path, read_face_3d, 3),
            inputs.text(["1|", "2.5", "|", "\n"], [inputs.face_3d()]),
            lambda face: face.shape == (68, 3),
        ),
        "landmarker": Reader(".yaml", read_landmarker, inputs.yaml_text(inputs.yaml_files("configs/peers"))),
        "field": Reader(
            ".yaml", lambda path: read_field(str(path)), inputs.yaml_text(inputs.yaml_files("configs/fields"))
        ),
        "grid": Reader(
            ".yaml", lambda path: read_grid(str(path)), inputs.yaml_text(inputs.yaml_files("experiments/grids"))
        ),
        "sweep": Reader(
            ".yaml", lambda path: read_sweep(str(path)), inputs.yaml_text(inputs.yaml_files("experiments/sweeps"))
        ),
        "checkpoint": Reader(".ckpt", read_checkpoint, inputs.checkpoints()),
        "landmarker of a checkpoint": Reader(".ckpt", load_landmarker, inputs.checkpoints()),
        "state": Reader(".pth", read_state, inputs.checkpoints()),
        "safetensors": Reader(".safetensors", read_state, inputs.binary(inputs.SAFETENSORS)),
        "onnx": Reader(".onnx", ExportedLandmarker, inputs.binary([onnx[:4000], onnx])),
    }


def try_one(reader: Reader, path: Path, data: bytes) -> None:
    """Let a reader have a file.

    Raises:
        AssertionError: it returns what is of another form, or takes too long.
        Exception: it raises anything but an error of one line.
    """
    path.write_bytes(data)
    start = time.monotonic()
    try:
        with _at_most(SECONDS):
            right, said = reader.right(reader.read(path)), "a result of another form"
    except SAID as error:
        right, said = bool(str(error).strip()), "an error without words"
    assert right, said
    assert time.monotonic() - start < SECONDS, "a hang"


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(bytes_: int) -> None:
    """Of this process, from now on."""
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, resource.getrlimit(resource.RLIMIT_AS)[1]))
