"""Smaller ONNX files: weights in float16, or convolutions in 8-bit integers."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from lightning_modules.landmarkers.fixed import not_installed
from lightning_modules.landmarkers.onnx.exported import IMAGES
from lightning_modules.weights import WeightsError

if TYPE_CHECKING:
    import onnx

_SMALLEST: Final = 64
"""Constants of fewer numbers stay as they are: they are steps, sizes and limits, and save nothing."""
_BETWEEN: Final = ("Relu", "LeakyRelu", "Clip", "Add", "Concat", "MaxPool", "AveragePool", "Resize", "Pad")
"""Operators that 8-bit maps pass through, from one convolution to the next."""


def halve(model: "onnx.ModelProto", exact: bool = False) -> None:
    """Keep a graph's weights in float16, cast to float32 when it is loaded; what it computes in stays float32.

    CPUs compute in float32 whatever the file holds. Runtimes for GPUs and phones choose their own type.

    Args:
        model: is changed in place.
        exact: leave those as they are that float16 does not hold exactly, so that the outputs stay the same.

    Raises:
        WeightsError: a weight is beyond float16's range.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):  # refused below
            half = values.astype(np.float16)
        if exact and not np.array_equal(half.astype(np.float32), values):
            continue
        if not np.isfinite(half).all():
            largest = np.finfo(np.float16).max
            raise WeightsError(
                f"{tensor.name}: found values up to {np.abs(values).max():g}; expected finite ones within float16's "
                f"±{largest:g}. Export in fp32."
            )
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def quantized(model: "onnx.ModelProto", crops: Sequence[npt.NDArray[np.float32]]) -> "onnx.ModelProto":
    """A graph whose convolutions compute in 8-bit integers: static, as QDQ nodes, with a scale per channel of weights.

    Maps are 8-bit from one convolution to the next, the ReLU and the sum between them included: a map quantised before
    its ReLU6 spends most of its 256 steps on values that are then cut off, which cost 0.2 to 0.3 % NME. What is read
    from the last maps stays float32: heatmaps, softmax, coordinates, and whatever works on these. (A map that windows
    are cut from is 8-bit where convolutions go on from it, too.)

    Args:
        model: in float32; is not changed.
        crops: RGB in [0, 1], each of shape ``(1, 3, S, S)``: the ranges of the maps are found on these.

    Raises:
        WeightsError: there is no crop; the network has no convolutions to quantise; onnxruntime is not installed.
    """
    try:
        with _quiet():
            from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
            from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise not_installed("onnxruntime", "export", "int8") from error
    import onnx

    with TemporaryDirectory() as folder, _quiet():
        plain, ready, out = (str(Path(folder, name)) for name in ("plain.onnx", "ready.onnx", "out.onnx"))
        onnx.save(model, plain)
        # It folds constants and gives every map its shape.
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        nodes = _chained(onnx.load(ready).graph.node)
        if not crops or not nodes:
            what = "convolutions that follow each other" if crops else "crops to calibrate on"
            raise WeightsError(f"int8: found no {what}; expected some. Export in fp32 or fp16.")
        quantize_static(
            ready,
            out,
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: processors without VNNI add two products in 16 bits, which 8 bits would overflow.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            op_types_to_quantize=["Conv", *_BETWEEN],
            nodes_to_quantize=nodes,
        )
        result = onnx.load(out)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    result.producer_name, result.doc_string = model.producer_name, model.doc_string
    return result


def _chained(nodes: "Sequence[onnx.NodeProto]") -> list[str]:
    """The convolutions whose maps reach another one, and what lies between the two."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    leading: dict[str, bool] = {}
    # Nodes are sorted: every reader is seen before what it reads.
    for node in reversed(nodes):
        following = [reader for name in node.output for reader in readers.get(name, [])]
        leading[node.name] = any(
            reader.op_type == "Conv" or (reader.op_type in _BETWEEN and leading[reader.name]) for reader in following
        )
    reached: set[str] = set()
    chosen = []
    for node in nodes:
        if node.op_type != "Conv" and not (node.op_type in _BETWEEN and reached & set(node.input)):
            continue
        reached |= set(node.output)
        if leading[node.name]:
            chosen.append(node.name)
    return chosen


class _Crops:
    """Crops in the form that onnxruntime's calibration asks for them."""

    def __init__(self, crops: Sequence[npt.NDArray[np.float32]]) -> None:
        self._crops = iter(crops)

    def get_next(self) -> Mapping[str, Any] | None:
        crop = next(self._crops, None)
        return None if crop is None else {IMAGES: crop}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get_next, None)


class _quiet:  # noqa: N801  # a context manager, used as a function
    """Without the advice that the quantiser logs, and the handler that it gives everybody's log."""

    def __enter__(self) -> None:
        self._level, self._handlers = logging.root.manager.disable, list(logging.root.handlers)
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.root.handlers[:] = self._handlers
        logging.disable(self._level)
