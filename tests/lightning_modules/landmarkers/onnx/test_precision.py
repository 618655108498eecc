"""Files in float16 and int8: how much smaller they are, and what they still find."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto

from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.commands.export import drawn_batches
from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.onnx.check import TOLERANCE, largest_difference
from lightning_modules.landmarkers.onnx.export import to_onnx
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.landmarkers.onnx.precision import halve, quantized
from lightning_modules.weights import WeightsError
from tests.lightning_modules.landmarkers.onnx.networks import about, crops, shaken


@pytest.fixture(scope="module")
def shipped() -> Landmarker:
    return load_landmarker(DEFAULT_WEIGHTS)


def opened(model: onnx.ModelProto, folder: Path) -> ExportedLandmarker:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return ExportedLandmarker(folder / "model.onnx")


def moves(a: Landmarker, b: Landmarker, batches: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([(a(images).landmarks - b(images).landmarks).norm(dim=-1) for images in batches])


def test_half_weights_that_are_exact_change_nothing(shipped: Landmarker, tmp_path: Path) -> None:
    """Shipped weights were rounded to float16 when they were packed."""
    whole = to_onnx(shipped, about(shipped), fused=False)
    model = to_onnx(shipped, about(shipped), fused=False)
    halve(model, exact=True)
    assert model.ByteSize() < 0.6 * whole.ByteSize()
    copy = opened(model, tmp_path)
    assert largest_difference(shipped, copy, [crops(3, shipped.image_size)]) < TOLERANCE
    # Weights that float16 does not hold stay as they are.
    odd = shaken("integral", "quick")
    model = to_onnx(odd, about(odd), fused=False)
    before = model.ByteSize()
    halve(model, exact=True)
    assert model.ByteSize() > 0.95 * before


def test_half_weights_move_landmarks_a_little(shipped: Landmarker, tmp_path: Path) -> None:
    model = to_onnx(shipped, about(shipped))
    before = model.ByteSize()
    halve(model)
    assert model.ByteSize() < 0.6 * before
    copy = opened(model, tmp_path)
    moved = moves(shipped, copy, drawn_batches(shipped.image_size))
    assert 0 < float(moved.mean()) < 1e-3


def test_weights_beyond_float16_are_refused(shipped: Landmarker) -> None:
    model = to_onnx(shipped, about(shipped))
    tensor = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e6
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(WeightsError, match=rf"{tensor.name}: found values up to 1e\+06"):
        halve(model)


def test_int8_keeps_landmarks_on_drawn_faces(shipped: Landmarker, tmp_path: Path) -> None:
    model = to_onnx(shipped, about(shipped))
    batches = drawn_batches(shipped.image_size)
    small = quantized(model, [crop[None].numpy() for crop in torch.cat(batches)[::2]])
    assert small.ByteSize() < 0.6 * model.ByteSize()
    assert [(one.key, one.value) for one in small.metadata_props] == [(p.key, p.value) for p in model.metadata_props]
    kinds = [one.data_type for one in small.graph.initializer]
    assert kinds.count(TensorProto.INT8) > 30, "most convolutions"
    copy = opened(small, tmp_path)
    moved = moves(shipped, copy, batches)
    # A pixel is 0.006; single points on drawn faces may choose another peak.
    assert 0 < float(moved.median()) < 3e-3
    assert float(moved.mean()) < 6e-3


@pytest.mark.parametrize("name", ["spiga", "hrnet"])
def test_what_works_on_coordinates_stays_in_float(name: str) -> None:
    landmarker = shaken(name, "quick")
    model = to_onnx(landmarker, about(landmarker))
    small = quantized(model, [crops(1, landmarker.image_size).numpy()])
    made = {output: node for node in small.graph.node for output in node.output}
    for node in small.graph.node:
        if node.op_type in ("GridSample", "MatMul", "Softmax", "Gemm", "ArgMax", "ReduceSum", "LayerNormalization"):
            # Light SPIGA samples windows of a map that convolutions read too; where, is not in 8 bits.
            read = node.input[1:] if node.op_type == "GridSample" else node.input
            assert all(name not in made or made[name].op_type != "DequantizeLinear" for name in read), node.name
    outputs = [made[one.name].op_type for one in small.graph.output]
    assert "DequantizeLinear" not in outputs
    assert any(node.op_type == "QuantizeLinear" for node in small.graph.node)


def test_nothing_to_calibrate_on(shipped: Landmarker) -> None:
    with pytest.raises(WeightsError, match="int8: found no crops to calibrate on"):
        quantized(to_onnx(shipped, about(shipped)), [])
