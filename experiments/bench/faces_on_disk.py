"""Faces in files for a bench: drawn ones, or some of the published sets'. Both loops read the same files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from datamodules.base import FaceDataModule
from datamodules.datasets import CariFaceDataModule, SyntheticDataModule, W300DataModule
from datamodules.faces import FaceSet
from datamodules.formats import write_pts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceFolders:
    """Two folders of images with their landmarks beside them.

    Attributes:
        photos: labelled photos.
        stylised: stylised faces; labelled, unless the true ones come without.
        drawn: whether the faces are drawn ones.
    """

    photos: Path
    stylised: Path
    drawn: bool


def write_faces(folder: Path, count: int, pixels: int = 800, data: str = "") -> FaceFolders:
    """Write (or, of true faces, link) so many photos and as many stylised faces.

    Args:
        folder: in which both folders are made.
        count: of either.
        pixels: side of drawn images, as JPEG. (Photos of 300W have some hundreds to some thousands.)
        data: a ``DATA=ROOT`` folder with ``300W/`` and ``CariFace_dataset/``, whose training faces are taken, spread
            evenly; drawn ones if empty.

    Raises:
        DataError: the published sets are missing or malformed.
    """
    sets: dict[str, FaceDataModule] = {
        "photos": W300DataModule(f"{data}/300W", strict_counts=False)
        if data
        else SyntheticDataModule("photo", train_count=count, size=pixels),
        "stylised": CariFaceDataModule(f"{data}/CariFace_dataset", strict_counts=False)
        if data
        else SyntheticDataModule("caricature", train_count=count, size=pixels),
    }
    for name, module in sets.items():
        (folder / name).mkdir(parents=True)
        faces = module.train_faces()
        places = [i * len(faces) // count for i in range(count)] if len(faces) > count else range(len(faces))
        _write(folder / name, faces, places)
    return FaceFolders(folder / "photos", folder / "stylised", drawn=not data)


def _write(folder: Path, faces: FaceSet, places: Sequence[int]) -> None:
    for number, place in enumerate(places):
        face = faces[place]
        original = Path(face.path)
        path = folder / f"{number:05d}{original.suffix if original.is_file() else '.jpg'}"
        if original.is_file():
            path.symlink_to(original.resolve())
        else:
            cv2.imwrite(str(path), face.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        if face.landmarks is not None:
            write_pts(path.with_suffix(".pts"), face.landmarks)
