"""Training shapes, and the mean face a landmarker starts from: built in, or read from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.weights import WeightsError, WeightsNotFoundError

# fmt: off
MEAN_FACE: Final[tuple[tuple[float, float], ...]] = (
    (0.095, 0.250), (0.097, 0.357), (0.108, 0.467), (0.129, 0.577), (0.167, 0.678), (0.228, 0.766),
    (0.306, 0.838), (0.398, 0.892), (0.504, 0.909), (0.610, 0.891), (0.701, 0.836), (0.778, 0.762),
    (0.838, 0.674), (0.874, 0.572), (0.894, 0.462), (0.904, 0.352), (0.904, 0.245), (0.169, 0.152),
    (0.219, 0.112), (0.287, 0.100), (0.356, 0.110), (0.420, 0.134), (0.580, 0.133), (0.643, 0.108),
    (0.713, 0.097), (0.781, 0.108), (0.831, 0.148), (0.501, 0.222), (0.501, 0.293), (0.501, 0.362),
    (0.502, 0.431), (0.411, 0.491), (0.454, 0.506), (0.502, 0.517), (0.550, 0.506), (0.593, 0.490),
    (0.240, 0.238), (0.288, 0.212), (0.341, 0.212), (0.390, 0.246), (0.339, 0.257), (0.286, 0.256),
    (0.611, 0.245), (0.660, 0.210), (0.713, 0.209), (0.761, 0.235), (0.715, 0.254), (0.662, 0.255),
    (0.333, 0.628), (0.393, 0.601), (0.458, 0.586), (0.502, 0.596), (0.546, 0.585), (0.611, 0.600),
    (0.672, 0.626), (0.616, 0.682), (0.554, 0.714), (0.503, 0.720), (0.452, 0.715), (0.389, 0.684),
    (0.353, 0.630), (0.457, 0.625), (0.503, 0.630), (0.549, 0.624), (0.652, 0.628), (0.550, 0.659),
    (0.503, 0.664), (0.455, 0.659),
)
# fmt: on
"""68 landmarks in crop coordinates (the square crop of 1.2 × the longer side of the landmarks' box), shape
``(68, 2)``: the mean over 3,000 portraits and video frames, rounded to 3 decimals."""


def check_shapes(shapes: Tensor) -> None:
    """Check that shapes are those of training faces, ``(N, 68, 2)``.

    Raises:
        ValueError: ``shapes`` is empty or has another shape.
    """
    if shapes.dim() != 3 or shapes.shape[1:] != (NUM_LANDMARKS, 2) or len(shapes) == 0:
        raise ValueError(f"shapes has shape {tuple(shapes.shape)}; expected (N, {NUM_LANDMARKS}, 2) with N > 0.")


def read_face(path: str | Path, read: Callable[[Path], npt.NDArray[np.floating]], dimensions: int) -> Tensor:
    """Read a face of 68 points.

    Args:
        path: of the file.
        read: reads its points, shape ``(68, dimensions)``.
        dimensions: 2 or 3.

    Returns:
        Shape ``(68, dimensions)``, float32.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it is damaged, or does not hold 68 finite points.
    """
    path, wanted = Path(path), (NUM_LANDMARKS, dimensions)
    if not path.is_file():
        raise WeightsNotFoundError(
            f"there is no mean face file {path}. Give a .npy of shape {wanted}, or leave it out."
        )
    try:
        face = read(path)
    except Exception as error:  # of damaged files, numpy and zipfile raise what has no common base
        raise WeightsError(
            f"{path} cannot be read as a mean face: {error}. Expected a .npy array of shape {wanted}, or the published "
            "file of the landmarker."
        ) from error
    numbers = isinstance(face, np.ndarray) and face.dtype.kind in "fiu"
    if not numbers or face.shape != wanted or not np.isfinite(face).all():
        kind = f"shape {face.shape} and type {face.dtype}" if isinstance(face, np.ndarray) else "no array"
        raise WeightsError(f"{path} has {kind}; expected {wanted}, numbers, all finite.")
    return torch.from_numpy(face.astype(np.float32))
