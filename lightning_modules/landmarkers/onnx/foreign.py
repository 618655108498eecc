"""Any network in an ONNX file as a landmarker, by a few lines of YAML (configs/peers has two)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightning_modules.landmarkers.fixed import Array, FixedLandmarker, in_batches
from lightning_modules.landmarkers.onnx.session import open_session
from lightning_modules.weights import WeightsError

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxLandmarker(FixedLandmarker):
    """A network in an ONNX file, run by ``onnxruntime`` on the CPU (the extra ``onnx``).

    It takes and gives what :class:`FixedLandmarker` says. Its input has the shape ``(batch, 3, size, size)`` and is
    float32 or float16; sides and batch may be left open in the file.

    Args:
        file: of the network.
        input: what it takes.
        output: where its landmarks are.
        image_size: side of the crops it is given, in pixels.
        passes: how many times each face is run.
        crop_factor: of the crops it is given.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: ``onnxruntime`` is not installed; the file cannot be read; its input or output is not as said.
    """

    def load(self, path: Path) -> None:
        """Read the file and check its input; see the class for errors."""
        try:
            self.session = open_session(path)
        except WeightsError:
            raise
        except Exception as error:  # onnxruntime's have no common base
            raise self.unreadable("an ONNX network", error) from error
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            found = ", ".join(f"{one.name}: {one.type}" for one in inputs)
            raise WeightsError(
                f"{path}: found the inputs {found}; expected one, of float32 or float16. Export the network for images "
                "alone."
            )
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        self.require_input(shape)
        self.input_name, self.input_type, self.batch = inputs[0].name, _TYPES[inputs[0].type], shape[0]

    def outputs(self, images: Array) -> Mapping[str, Array]:
        """Run the network; see the base class."""
        names = [one.name for one in self.session.get_outputs()]
        batches = in_batches(images.astype(self.input_type), self.batch)
        try:
            results = [self.session.run(names, {self.input_name: batch}) for batch in batches]
        except Exception as error:  # onnxruntime's have no common base
            raise self.unreadable(f"a network that runs on {batches[0].shape}", error) from error
        whole = [np.concatenate(parts)[: len(images)] for parts in zip(*results, strict=True)]
        return dict(zip(names, whole, strict=True))
