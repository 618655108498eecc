"""Detectors in ONNX files, told apart by their outputs: YuNet's, and that of Ultra-Light RFB-320."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.faces import ByteArray
from lightning_modules.landmarkers.onnx.session import open_session
from lightning_modules.weights import WeightsError, WeightsNotFoundError
from prediction.detection.base import BoxCorrection, Detections, on_copy, strongest

Outputs = Mapping[str, npt.NDArray[np.float32]]

_STRIDES: Final = (8, 16, 32)
_SURE: Final = 0.8
_BORDER: Final = 0.25


class _YuNet:
    """OpenCV's face_detection_yunet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023).

    Its input is BGR, 0 to 255, of any size that is a multiple of 32, or of the size that the file fixes. For each
    stride s of 8, 16 and 32 there is one prior a cell, row by row: ``cls_s`` and ``obj_s``, whose product's root is the
    confidence, and ``bbox_s``: the centre's offset from the cell's corner and the logarithms of width and height, in
    units of s.
    """

    outputs: Final = frozenset(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in _STRIDES)
    correction: Final = BoxCorrection(x=0.005, y=0.14, scale=0.83)
    """That of libfacedetection, which is this network; there is no file here to measure."""
    sure: Final = 0.85

    def prepared(self, image: ByteArray, size: tuple[int, int] | None) -> npt.NDArray[np.float32]:
        height, width = image.shape[:2]
        width, height = size or (-(-width // 32) * 32, -(-height // 32) * 32)
        bgr = _padded(image, width, height)[:, :, ::-1]
        return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None], dtype=np.float32)

    def decoded(self, found: Outputs, size: tuple[int, int]) -> Detections:
        boxes, scores = [], []
        for stride in _STRIDES:
            columns, rows = -(-size[0] // stride), -(-size[1] // stride)
            offsets = found[f"bbox_{stride}"].reshape(-1, 4).astype(np.float64)
            y, x = np.divmod(np.arange(rows * columns), columns)
            centres = (np.stack([x, y], axis=1) + offsets[:, :2]) * stride
            half = np.exp(offsets[:, 2:].clip(max=10)) * stride / 2
            boxes.append(np.hstack([centres - half, centres + half]))
            both = [found[f"{kind}_{stride}"].reshape(-1).clip(0, 1).astype(np.float64) for kind in ("cls", "obj")]
            scores.append(np.sqrt(both[0] * both[1]))
        # Its corners are pixel edges.
        return Detections(np.concatenate(boxes) - 0.5, np.concatenate(scores))


class _Rfb320:
    """Ultra-Light-Fast-Generic-Face-Detector's RFB-320 (Linzaer, 2019; MIT).

    Its input is RGB, (x - 127) / 128, of the size that the file fixes (320 × 240). ``scores`` has a column for no face
    and one for a face, ``boxes`` their corners as shares of the input's width and height.
    """

    outputs: Final = frozenset({"scores", "boxes"})
    correction: Final = BoxCorrection(x=0.0, y=0.12, scale=0.81)
    """Medians over 25 caricatures: (0.00, 0.11, 0.88), over 150 photos of 300W: (0.00, 0.125, 0.77)."""
    sure: Final = 0.98

    def prepared(self, image: ByteArray, size: tuple[int, int] | None) -> npt.NDArray[np.float32]:
        width, height = size or (320, 240)
        pixels = _padded(image, width, height).transpose(2, 0, 1)[None]
        return np.ascontiguousarray((pixels.astype(np.float32) - 127) / 128)

    def decoded(self, found: Outputs, size: tuple[int, int]) -> Detections:
        boxes = found["boxes"].reshape(-1, 4).astype(np.float64) * [*size, *size]
        return Detections(boxes - 0.5, found["scores"].reshape(-1, 2)[:, 1].astype(np.float64))


_KINDS: Final = (_YuNet(), _Rfb320())


class OnnxDetector:
    """A face detector in an ONNX file.

    Args:
        file: of a network with the outputs of OpenCV's face_detection_yunet or of RFB-320.
        threshold: least confidence, from 0 to 1.
        longer_side: of the copy of the picture that it looks at, in pixels; a file that fixes the size overrules it.
        correction: from its boxes to the landmarks' squares; None for the one that was fitted for its kind.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: onnxruntime is not installed, or the file is no such network.
    """

    def __init__(
        self,
        file: str | Path,
        threshold: float = 0.6,
        longer_side: int = 320,
        correction: BoxCorrection | None = None,
    ) -> None:
        self.file, self.threshold = Path(file).expanduser(), threshold
        self._session = self._opened()
        inputs = self._session.get_inputs()[0]
        names = {output.name for output in self._session.get_outputs()}
        kind = next((kind for kind in _KINDS if kind.outputs <= names), None)
        if kind is None or len(inputs.shape) != 4:
            raise WeightsError(
                f"{self.file}: found the outputs {', '.join(sorted(names))}; expected those of a face detector, cls_8, "
                "obj_8, bbox_8, … (face_detection_yunet) or scores and boxes (RFB-320). Give such a file."
            )
        self._kind, self._input = kind, inputs.name
        height, width = inputs.shape[2:]
        self._size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        self.longer_side = longer_side
        self.correction = correction or kind.correction
        self.sure = kind.sure

    def __call__(self, image: ByteArray) -> Detections:
        """Find the faces of ``image`` (RGB, uint8, shape ``(H, W, 3)``)."""
        found = self._looked(image, 0.0)
        if not (len(found) and found.scores.max() >= _SURE):
            again = self._looked(image, _BORDER)
            found = again if not len(found) or (len(again) and again.scores.max() > found.scores.max()) else found
        return strongest(Detections(self.correction(found.boxes), found.scores))

    def _looked(self, image: ByteArray, border: float) -> Detections:
        side: float = self.longer_side
        if self._size is not None:
            # The largest copy, with its border, that fits into the input.
            height, width = image.shape[:2]
            longer = max(height, width)
            side = min(
                (self._size[0] - 1) / (width / longer + 2 * border),
                (self._size[1] - 1) / (height / longer + 2 * border),
            )
        return on_copy(image, side, border, self._find)

    def _find(self, image: ByteArray) -> Detections:
        array = self._kind.prepared(image, self._size)
        names = sorted(self._kind.outputs)
        values = self._session.run(names, {self._input: array})
        found = self._kind.decoded(dict(zip(names, values, strict=True)), (array.shape[3], array.shape[2]))
        sure = found.scores >= self.threshold
        return Detections(found.boxes[sure], found.scores[sure])

    def _opened(self) -> Any:
        if not self.file.is_file():
            raise WeightsNotFoundError(
                f"there is no detector file {self.file} (looked from {Path.cwd()}). Give its path."
            )
        try:
            return open_session(self.file)
        except WeightsError:
            raise
        except Exception as error:  # onnxruntime's own kinds
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"{self.file} ({self.file.stat().st_size} bytes) cannot be read: {said}. Expected an ONNX file; "
                "copy or download it again."
            ) from error


def _padded(image: ByteArray, width: int, height: int) -> ByteArray:
    """The picture with black added at its right and its bottom."""
    down, across = height - image.shape[0], width - image.shape[1]
    return np.asarray(cv2.copyMakeBorder(image, 0, max(down, 0), 0, max(across, 0), cv2.BORDER_CONSTANT), np.uint8)[
        :height, :width
    ]
