"""MediaPipe's face mesh (Google, Apache-2.0) as a landmarker: 468 points, of which the 68 are fixed mixtures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.ibug68 import NUM_LANDMARKS
from datamodules.transforms import CROP_FACTOR
from lightning_modules.landmarkers.fixed import (
    Array,
    FixedLandmarker,
    InputFormat,
    OutputFormat,
    frames_of,
    in_batches,
    not_installed,
)
from lightning_modules.weights import WeightsError

_EYES = (slice(36, 42), slice(42, 48))


class MediaPipeLandmarker(FixedLandmarker):
    """A mesh network in a ``.tflite`` file, run by ``ai-edge-litert``.

    Each pass after the first is turned so that the eyes found are level.

    Args:
        file: of the network.
        mixtures: ``.npy`` file, shape ``(68, points)``: which mixture of the mesh's points each landmark is.
        input: what it takes.
        output: where the mesh is.
        image_size: side of the crops it is given, in pixels.
        passes: how many times each face is run.
        crop_factor: of the crops it is given, see the base class.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: ``ai-edge-litert`` is not installed; a file cannot be read; the input or output is not as said.
    """

    def __init__(
        self,
        file: str,
        mixtures: str,
        input: InputFormat,
        output: OutputFormat,
        image_size: int = 224,
        passes: int = 2,
        crop_factor: float = CROP_FACTOR,
    ) -> None:
        self.mixtures = Path(mixtures).expanduser()
        super().__init__(file, input, output, image_size, passes, crop_factor)

    def load(self, path: Path) -> None:
        """Read both files and check the input; see the class for errors."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise not_installed("ai-edge-litert", "peers", f"the network {path}") from error
        try:
            self.network = Interpreter(str(path), num_threads=1)
            self.network.allocate_tensors()
            self.mixture: Array = np.load(self.mixtures)
        except (OSError, ValueError, RuntimeError) as error:
            raise self.unreadable(f"a TensorFlow Lite network, and mixtures in {self.mixtures}", error) from error
        if self.mixture.ndim != 2 or len(self.mixture) != NUM_LANDMARKS:
            raise WeightsError(f"{self.mixtures}: found the shape {self.mixture.shape}; expected (68, points).")
        (entry,) = self.network.get_input_details()
        batch, height, width, channels = entry["shape"].tolist()
        self.require_input([batch, channels, height, width])
        self.entry, self.batch = entry["index"], batch

    def outputs(self, images: Array) -> Mapping[str, Array]:
        """Run the network: the landmarks as its mesh's mixtures, as the output ``landmarks`` of ``(B, 136)``."""
        details = self.network.get_output_details()
        mesh = max(details, key=lambda one: int(np.prod(one["shape"])))["index"]
        found = []
        for batch in in_batches(images, self.batch):
            self.network.set_tensor(self.entry, np.ascontiguousarray(batch.transpose(0, 2, 3, 1)))
            self.network.invoke()
            points = self.network.get_tensor(mesh).reshape(len(batch), -1, 3)[..., :2]
            if points.shape[1] != self.mixture.shape[1]:
                raise WeightsError(
                    f"{self.file}: found {points.shape[1]} points; expected {self.mixture.shape[1]}, as "
                    f"{self.mixtures} mixes. Give the file that goes with the network."
                )
            found.append((self.mixture @ points).reshape(len(batch), -1))
        return {"landmarks": np.concatenate(found)[: len(images)].astype(np.float32)}

    def reframed(self, landmarks: Tensor, frames: Tensor) -> Tensor:
        """The same square, turned so that the eyes found are level."""
        left, right = (landmarks[:, eye].mean(1) for eye in _EYES)
        across = torch.nn.functional.normalize(right - left, dim=-1)
        down = torch.stack([-across[:, 1], across[:, 0]], dim=-1)
        side = frames[:, :, :2].det().sqrt()[:, None, None]
        centres = frames[:, :, :2].sum(-1) / 2 + frames[:, :, 2]
        return frames_of(centres, torch.stack([across, down], dim=-1) * side)
