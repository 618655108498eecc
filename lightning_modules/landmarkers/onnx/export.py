"""A landmarker as an ONNX graph, with what its user must know."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.landmarkers.fixed import not_installed
from lightning_modules.landmarkers.onnx.about import About
from lightning_modules.landmarkers.onnx.exported import IMAGES, OUTPUTS
from lightning_modules.weights import WeightsError

if TYPE_CHECKING:
    import onnx

OPSET: Final = 17
"""The first with layer normalisation as one operator; grid_sample came with 16."""
_TRACED_BATCH: Final = 2
"""Neither 1, which operators broadcast, nor a size that the graph is checked with."""


def to_onnx(landmarker: Landmarker, about: About, fused: bool = True) -> "onnx.ModelProto":
    """The graph of a landmarker, normalisation of the crops included.

    Its input ``images`` is RGB in [0, 1], float32, shape ``(B, 3, S, S)`` with any B. Its outputs are ``landmarks``,
    crop coordinates of shape ``(B, 68, 2)``, and ``uncertainty``, ``(B, 68)``, for landmarkers that tell it.

    Args:
        landmarker: on the CPU.
        about: becomes the file's metadata.
        fused: fold batch normalisation into convolutions. Unfused, the graph holds the weights as they are; runtimes
            fold when they load it.

    Raises:
        WeightsError: the package onnx is not installed, or the network has an operator that ONNX has not.
    """
    try:
        import onnx
    except ImportError as error:
        raise not_installed("onnx", "export", "`warpmark export`") from error
    with TemporaryDirectory() as folder, evaluating(landmarker), torch.no_grad(), _traceable(), _with_our_operators():
        file = Path(folder, "model.onnx")
        try:
            _trace(_Outputs(landmarker).eval(), file, fused)
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise WeightsError(
                f"{type(landmarker).__name__} cannot be exported to ONNX: {str(error).splitlines()[0]}. Write its "
                f"forward pass with operators that ONNX (opset {OPSET}) has."
            ) from error
        model = onnx.load(file)
    describe(model, about)
    return model


def _trace(network: "_Outputs", file: Path, fused: bool) -> None:
    size = network.landmarker.image_size
    images = torch.rand(_TRACED_BATCH, 3, size, size)
    names = OUTPUTS[: len(network(images))]
    torch.onnx.export(
        network,
        (images,),
        file,
        input_names=[IMAGES],
        output_names=list(names),
        dynamic_axes={name: {0: "batch"} for name in (IMAGES, *names)},
        opset_version=OPSET,
        training=torch.onnx.TrainingMode.EVAL if fused else torch.onnx.TrainingMode.PRESERVE,
        # The newer exporter needs the package onnxscript.
        dynamo=False,
    )


def describe(model: "onnx.ModelProto", about: About) -> None:
    """Write a graph's metadata, in place of those it has."""
    from onnx import helper

    del model.metadata_props[:]
    helper.set_model_props(model, about.metadata())
    model.producer_name = "warpmark"
    model.doc_string = "Face crops to the 68 iBUG landmarks; see the metadata."


class _Outputs(nn.Module):
    """The outputs of a landmarker that are exported, in the order of :data:`OUTPUTS`."""

    def __init__(self, landmarker: Landmarker) -> None:
        super().__init__()
        self.landmarker = landmarker

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.landmarker(images)
        found = output.landmarks.float()
        return (found,) if output.uncertainty is None else (found, output.uncertainty.float())


@contextmanager
def _traceable() -> Iterator[None]:
    """Without operators that exist for speed alone, and without warnings, since the graph is checked by numbers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _with_our_operators() -> Iterator[None]:
    """Let the exporter translate operators that it does not know."""
    # Not among the names that torch.onnx declares as its own.
    register, unregister = (getattr(torch.onnx, f"{verb}_custom_op_symbolic") for verb in ("register", "unregister"))
    ours: dict[str, Callable[..., Any]] = {"aten::hypot": _hypot, "aten::mT": _transposed, "aten::deg2rad": _radians}
    for name, translate in ours.items():
        register(name, translate, OPSET)
    try:
        yield
    finally:
        for name in ours:
            unregister(name, OPSET)


def _hypot(graph: Any, a: Any, b: Any) -> Any:
    squares = (graph.op("Mul", side, side) for side in (a, b))
    return graph.op("Sqrt", graph.op("Add", *squares))


def _radians(graph: Any, degrees: Any) -> Any:
    return graph.op("Mul", degrees, graph.op("Constant", value_t=torch.tensor(math.pi / 180)))


def _transposed(graph: Any, matrix: Any) -> Any:
    *outer, rows, columns = range(matrix.type().dim())
    return graph.op("Transpose", matrix, perm_i=[*outer, columns, rows])
