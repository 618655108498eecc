"""Pictures of drawn faces that the detector finds."""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import ByteArray, Face


@functools.cache
def drawn_face(number: int = 0, size: int = 192) -> Face:
    """A photo-like face in the middle of ``size`` × ``size`` pixels."""
    return SyntheticDataModule(style="photo", train_count=1, test_count=4, size=size).test_faces()[number]


def group(*numbers: int) -> ByteArray:
    """Several drawn faces side by side."""
    return np.concatenate([drawn_face(number).image for number in numbers], axis=1)


def landscape(size: int = 192) -> ByteArray:
    """A picture without a face."""
    rows = np.linspace(40, 220, size).astype(np.uint8)
    return np.repeat(np.repeat(rows[:, None, None], size, 1), 3, 2)


def save(path: Path, image: ByteArray, **options: object) -> Path:
    """Write a picture in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)  # type: ignore[arg-type]
    return path
