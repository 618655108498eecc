"""A network in OpenVINO's format as a landmarker (the MobileFaceNet of configs/peers)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightning_modules.landmarkers.fixed import Array, FixedLandmarker, in_batches, not_installed
from lightning_modules.weights import WeightsError


class OpenVinoLandmarker(FixedLandmarker):
    """A network in an ``.xml`` file with its ``.bin`` beside it, run by ``openvino`` on one thread of the CPU.

    See :class:`FixedLandmarker` for its arguments.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: ``openvino`` is not installed; the file cannot be read; its input or output is not as said.
    """

    def load(self, path: Path) -> None:
        """Read the file and check its input; see the class for errors."""
        try:
            import openvino
        except ImportError as error:
            raise not_installed("openvino", "peers", f"the network {path}") from error
        try:
            model = openvino.Core().read_model(str(path))
            self.network = openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
        except Exception as error:  # openvino's are RuntimeErrors of no kind of their own
            raise self.unreadable("an OpenVINO network with its .bin beside it", error) from error
        if len(self.network.inputs) != 1:
            raise WeightsError(f"{path}: found {len(self.network.inputs)} inputs; expected one, of images.")
        shape = [None if side.is_dynamic else side.get_length() for side in self.network.inputs[0].partial_shape]
        self.require_input(shape)
        self.batch = shape[0]

    def outputs(self, images: Array) -> Mapping[str, Array]:
        """Run the network; see the base class. Outputs are called by their numbers where they have no names."""
        results = [list(self.network([batch]).values()) for batch in in_batches(images, self.batch)]
        whole = [np.concatenate(parts)[: len(images)] for parts in zip(*results, strict=True)]
        return {str(number): values for number, values in enumerate(whole)}
