"""Networks with known boxes, in the layouts of YuNet and RFB-320."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightning_modules.weights import WeightsError, WeightsNotFoundError
from prediction.detection.base import BoxCorrection
from prediction.detection.onnx import OnnxDetector

PLAIN = BoxCorrection()


def write_constants(path: Path, outputs: dict[str, npt.NDArray[np.float32]], height: int, width: int) -> Path:
    """A network that says the same whatever it sees."""
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["mean", "none"], ["zero"])]
    nodes += [helper.make_node("Add", ["zero", f"{name}_value"], [name]) for name in outputs]
    constants = {"none": np.float32(0).reshape(()), **{f"{name}_value": value for name, value in outputs.items()}}
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def yunet(path: Path, row: int, column: int, stride: int, size: float, height: int = 96, width: int = 128) -> Path:
    """One face: a square of ``size`` pixels, a quarter of a cell right of and below a cell's corner."""
    outputs = {}
    for s in (8, 16, 32):
        count = (height // s) * (width // s)
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{s}"] = np.zeros((1, count, channels), np.float32)
    prior = row * (width // stride) + column
    outputs[f"cls_{stride}"][0, prior] = 0.9
    outputs[f"obj_{stride}"][0, prior] = 0.9
    outputs[f"bbox_{stride}"][0, prior] = [0.25, 0.25, math.log(size / stride), math.log(size / stride)]
    return write_constants(path, outputs, height, width)


@pytest.mark.parametrize(("stride", "row", "column"), [(8, 5, 7), (16, 2, 3), (32, 1, 2)])
def test_yunet(tmp_path: Path, stride: int, row: int, column: int) -> None:
    detector = OnnxDetector(yunet(tmp_path / "a.onnx", row, column, stride, 40), correction=PLAIN)
    found = detector(np.zeros((95, 127, 3), np.uint8))
    x, y = (column + 0.25) * stride - 0.5, (row + 0.25) * stride - 0.5
    assert found.boxes == pytest.approx(np.array([[x - 20, y - 20, x + 20, y + 20]]), abs=1e-3)
    assert found.scores == pytest.approx([0.9])


def test_boxes_are_the_large_picture_s(tmp_path: Path) -> None:
    detector = OnnxDetector(yunet(tmp_path / "a.onnx", 2, 3, 16, 40), correction=PLAIN)
    (small,) = detector(np.zeros((95, 127, 3), np.uint8)).boxes
    (large,) = detector(np.zeros((950, 1270, 3), np.uint8)).boxes
    assert (large + 0.5) / 10 == pytest.approx(small + 0.5, abs=0.01)


def test_rfb320(tmp_path: Path) -> None:
    boxes = np.array([[[0.25, 0.25, 0.5, 0.75], [0, 0, 0.1, 0.1]]], np.float32)
    scores = np.array([[[0.01, 0.99], [0.6, 0.4]]], np.float32)
    path = write_constants(tmp_path / "b.onnx", {"scores": scores, "boxes": boxes}, 240, 320)
    found = OnnxDetector(path, correction=PLAIN)(np.zeros((239, 319, 3), np.uint8))
    # The square about 80 × 120 pixels.
    assert found.boxes == pytest.approx(np.array([[59.5, 59.5, 179.5, 179.5]]))
    assert found.scores == pytest.approx([0.99])


def test_the_correction_is_to_the_landmarks_square() -> None:
    corrected = BoxCorrection(x=0.1, y=0.2, scale=0.5)(np.array([[10, 10, 30, 50.0]]))
    assert corrected == pytest.approx(np.array([[20 + 4 - 10, 30 + 8 - 10, 20 + 4 + 10, 30 + 8 + 10]]))


def test_files_that_are_no_detector(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no detector file .*nowhere\.onnx"):
        OnnxDetector(tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(WeightsError, match=r"text\.onnx \(10 bytes\) cannot be read"):
        OnnxDetector(tmp_path / "text.onnx")
    other = write_constants(tmp_path / "other.onnx", {"landmarks": np.zeros((1, 136), np.float32)}, 32, 32)
    with pytest.raises(WeightsError, match="found the outputs landmarks; expected those of a face detector"):
        OnnxDetector(other)
