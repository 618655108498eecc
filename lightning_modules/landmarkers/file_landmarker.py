"""The base of landmarkers that another runtime reads from a file: they are run as they are, and never trained."""

from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.weights import WeightsError, WeightsNotFoundError


class FileLandmarker(Landmarker):
    """A network in a file: no gradient passes through it, and it cannot be trained.

    Args:
        file: of the network.
        image_size: side of the crops it is given, in pixels.
        crop_factor: of those crops.
    """

    remedy = "Give its path; for the shipped configs/peers set PEERS=folder."
    """What to do where there is no such file."""

    def __init__(self, file: str | Path, image_size: int, crop_factor: float) -> None:
        super().__init__()
        self.file, self.image_size, self.crop_factor = Path(file).expanduser(), image_size, crop_factor

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """There is none.

        Raises:
            WeightsError: always.
        """
        self._refuse("be trained")

    def fit_shapes(self, shapes: Tensor) -> None:
        """Refuse what comes before training.

        Raises:
            WeightsError: always.
        """
        self._refuse("be trained")

    def blank_crop(self) -> Tensor:
        """A black crop, shape ``(1, 3, S, S)``."""
        return torch.zeros(1, 3, self.image_size, self.image_size)

    def refuse_gradient(self, images: Tensor) -> None:
        """Refuse crops whose gradient is wanted.

        Raises:
            WeightsError: it is.
        """
        if images.requires_grad and torch.is_grad_enabled():
            self._refuse("pass a gradient on")

    def unreadable(self, kind: str, error: Exception) -> WeightsError:
        """The error about a file that its runtime cannot read as what it should be."""
        said = str(error).strip().splitlines()
        return WeightsError(
            f"{self.file} ({self.file.stat().st_size} bytes) cannot be read: {type(error).__name__}: "
            f"{said[0] if said else ''}. Expected {kind}; copy or download it again."
        )

    def existing(self) -> Path:
        """The file.

        Raises:
            WeightsNotFoundError: there is none.
        """
        if not self.file.is_file():
            raise WeightsNotFoundError(
                f"there is no network file {self.file} (looked from {Path.cwd()}). {self.remedy}"
            )
        return self.file

    def _refuse(self, what: str) -> NoReturn:
        raise WeightsError(
            f"{self.file}: found a network of {type(self).__name__}, which cannot {what}. Use it to evaluate or as a "
            "teacher of pseudo landmarks, and train another LANDMARKER."
        )
