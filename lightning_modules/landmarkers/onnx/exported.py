"""A landmarker from an ONNX file that `warpmark export` wrote."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_modules.landmarkers.base import LandmarkerOutput, full_precision
from lightning_modules.landmarkers.file_landmarker import FileLandmarker
from lightning_modules.landmarkers.fixed import resampled
from lightning_modules.landmarkers.onnx.about import About
from lightning_modules.landmarkers.onnx.session import open_session
from lightning_modules.weights import WeightsError

IMAGES = "images"
"""The input: RGB in [0, 1], float32, shape ``(B, 3, S, S)``."""
OUTPUTS = ("landmarks", "uncertainty")
"""The outputs: crop coordinates, shape ``(B, 68, 2)``; and, where the landmarker tells it, ``(B, 68)``."""


class ExportedLandmarker(FileLandmarker):
    """An exported landmarker, run by ``onnxruntime`` on the CPU (the extra ``onnx``).

    Crops of its own size reach the network as they are; others are resampled.

    Args:
        file: written by ``warpmark export`` or ``warpmark pack``.

    Attributes:
        about: what the file says about itself.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: ``onnxruntime`` is not installed; the file cannot be read, or is not one of this project.
    """

    remedy = "Export one: `warpmark export --ckpt CHECKPOINT --out model.onnx`."

    def __init__(self, file: str | Path) -> None:
        super().__init__(file, image_size=1, crop_factor=1.0)
        path = self.existing()
        try:
            self.session = open_session(path)
            metadata = self.session.get_modelmeta().custom_metadata_map
        except WeightsError:
            raise
        except Exception as error:  # onnxruntime's have no common base
            raise self.unreadable("an ONNX network", error) from error
        self.about = About.read(metadata, path)
        self.image_size, self.crop_factor = self.about.image_size, self.about.crop_factor
        inputs, outputs = ([one.name for one in some()] for some in (self.session.get_inputs, self.session.get_outputs))
        if inputs != [IMAGES] or outputs not in ([OUTPUTS[0]], [*OUTPUTS]):
            raise WeightsError(
                f"{path}: found the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}; expected "
                f"{IMAGES}, and {OUTPUTS[0]} with or without {OUTPUTS[1]}. Export it again."
            )

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """Find the landmarks of square crops (RGB in [0, 1], shape ``(B, 3, S, S)``, any S).

        Raises:
            WeightsError: a gradient is asked for, or the network cannot be run.
        """
        self.refuse_gradient(images)
        with torch.no_grad(), full_precision(images):
            frames = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
            shrinking = max(1, images.shape[-1] // self.image_size // 2)
            crops = resampled(images, frames, self.image_size, shrinking).float().cpu().contiguous()
        try:
            found = self.session.run(None, {IMAGES: crops.numpy()})
        except Exception as error:  # onnxruntime's have no common base
            raise self.unreadable(f"a network that runs on {tuple(crops.shape)}", error) from error
        landmarks, *uncertainty = (torch.from_numpy(one).to(images.device) for one in found)
        return LandmarkerOutput(landmarks[:, None], uncertainty=uncertainty[0] if uncertainty else None)
