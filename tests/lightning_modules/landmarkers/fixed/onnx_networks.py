"""Networks with known answers, written as ONNX files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Side = int | str


def _write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, npt.NDArray[np.generic]],
    shape: Sequence[Side],
    numbers: int,
    kind: int = TensorProto.FLOAT,
    more_inputs: Sequence[str] = (),
) -> Path:
    inputs = [helper.make_tensor_value_info("images", kind, shape)]
    inputs += [helper.make_tensor_value_info(name, kind, [1]) for name in more_inputs]
    outputs = [helper.make_tensor_value_info("landmarks", kind, [shape[0], numbers])]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "network", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_fixed_points(
    path: Path,
    numbers: npt.NDArray[np.floating],
    size: Side = 16,
    batch: Side = "batch",
    half: bool = False,
    more_inputs: Sequence[str] = (),
) -> Path:
    """It gives the same numbers, shape ``(N,)``, for every image."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["channels"]),
        helper.make_node("MatMul", ["channels", "none"], ["zeros"]),
        helper.make_node("Add", ["zeros", "numbers"], ["landmarks"]),
    ]
    constants = {"none": np.zeros((3, numbers.size), dtype), "numbers": numbers.reshape(1, -1).astype(dtype)}
    return _write(path, nodes, constants, (batch, 3, size, size), numbers.size, kind, more_inputs)


def write_channel_means(path: Path, size: int = 16) -> Path:
    """Its first three numbers of 136 are the means of its input's channels."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["channels"]),
        helper.make_node("MatMul", ["channels", "placed"], ["landmarks"]),
    ]
    return _write(path, nodes, {"placed": np.eye(3, 136, dtype=np.float32)}, ("batch", 3, size, size), 136)


def write_centre_of_light(path: Path, size: int, batch: Side = "batch") -> Path:
    """Every landmark is the centre of the light in the input, in pixels, centres of pixels at integers."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    moments = np.stack([columns.ravel(), rows.ravel()], axis=1)
    flat = np.concatenate([moments] + [np.zeros_like(moments)] * 2)
    mass = np.concatenate([np.ones((size * size, 1), np.float32), np.zeros((2 * size * size, 1), np.float32)])
    nodes = [
        helper.make_node("Flatten", ["images"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "moments"], ["moment"]),
        helper.make_node("MatMul", ["pixels", "mass"], ["light"]),
        helper.make_node("Div", ["moment", "light"], ["landmarks"]),
    ]
    constants = {"moments": np.tile(flat, (1, 68)).astype(np.float32), "mass": mass}
    return _write(path, nodes, constants, (batch, 3, size, size), 136)
