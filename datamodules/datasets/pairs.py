"""Pairs of a photo and what an artist made of it, in one frame: AutoToon's data, or a folder laid out as it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from datamodules.faces import Face, FaceSample, collate
from datamodules.files import FileFaces, OnError, require_labelled
from datamodules.formats import bad_file
from datamodules.layout import expect_landmarks, read_entries, require_images
from datamodules.transforms import FaceTransform, crop_matrix

AUTOTOON_PAIRS: Final = 101
AUTOTOON_TEST: Final = (1, 10, 16, 24, 40, 50, 60, 80, 87, 93, 100)
"""The published program's test pairs, by their places in the order of names (adobe-research/AutoToon, dataset.py)."""
_LAYOUT: Final = "photos/NAME.jpg and caricatures/NAME.jpg, of the same names and size, each with NAME.pts beside it"


@dataclass(frozen=True)
class PairBatch:
    """Crops of B pairs: of both pictures the same square, the photo's.

    Attributes:
        photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
        photo_landmarks: crop coordinates, shape ``(B, 68, 2)``.
        caricatures: as the photos.
        caricature_landmarks: in the same frame.
        names: of the photos' files.
    """

    photos: Tensor
    photo_landmarks: Tensor
    caricatures: Tensor
    caricature_landmarks: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.photos)

    def chosen(self, places: Sequence[int]) -> Self:
        """Those pairs."""
        at = torch.as_tensor(places, dtype=torch.long)
        return replace(self.mapped(lambda tensor: tensor[at]), names=[self.names[place] for place in places])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The pairs with each of their tensors changed."""
        return replace(
            self,
            photos=change(self.photos),
            photo_landmarks=change(self.photo_landmarks),
            caricatures=change(self.caricatures),
            caricature_landmarks=change(self.caricature_landmarks),
        )


def read_pairs(root: str | Path, size: int, on_error: OnError = "raise") -> PairBatch:
    """All pairs of a folder, cropped.

    Args:
        root: holds ``photos/`` and ``caricatures/``, see :data:`_LAYOUT`.
        size: side of the crops in pixels.
        on_error: see :class:`FileFaces`; a pair is left out where either picture is.

    Raises:
        DataError: a folder or file is missing or malformed, or two pictures of a pair differ in size.
    """
    root = Path(root).expanduser()
    sides = [_read_side(root / folder, on_error) for folder in ("photos", "caricatures")]
    both = sorted(set(sides[0]) & set(sides[1]))
    if on_error == "raise" and (alone := sorted(set(sides[0]) ^ set(sides[1]))):
        found = f"{len(alone)} names in only one of photos/ and caricatures/, e.g. {alone[0]}"
        raise bad_file(root, found, _LAYOUT, "Add the other picture of each, or remove it.")
    if not both:
        raise bad_file(root, "no pair", _LAYOUT, "Give the folder that holds both.")
    crops = [_crop(sides[0][name], sides[1][name], size) for name in both]
    photos, caricatures = (collate([crop[side] for crop in crops]).to("cpu") for side in (0, 1))
    assert photos.landmarks is not None, "both sides were required to be labelled"
    assert caricatures.landmarks is not None, "both sides were required to be labelled"
    return PairBatch(photos.images, photos.landmarks, caricatures.images, caricatures.landmarks, both)


def split_places(count: int) -> tuple[list[int], list[int]]:
    """Places of training and of test pairs, in the order of names: AutoToon's own split of its 101, else every ninth.

    Args:
        count: of pairs.
    """
    test = AUTOTOON_TEST if count == AUTOTOON_PAIRS else range(count - 1, 0, -9)
    return [place for place in range(count) if place not in test], sorted(test)


def _read_side(folder: Path, on_error: OnError) -> dict[str, Face]:
    """The faces of one of the two folders by the names of their files, without suffix."""
    entries = read_entries(folder, _LAYOUT)
    require_images(folder, entries, _LAYOUT)
    faces = FileFaces(expect_landmarks(entries), on_error, folder.name)
    require_labelled(faces, f"pairs in {folder.parent}")
    return {Path(face.path).stem: face for face in faces}


def _crop(photo: Face, caricature: Face, size: int) -> tuple[FaceSample, FaceSample]:
    """Both in the photo's crop: what an artist moved has moved within it."""
    if photo.image.shape != caricature.image.shape:
        raise bad_file(
            caricature.path,
            f"{caricature.image.shape[1]}×{caricature.image.shape[0]} pixels",
            f"{photo.image.shape[1]}×{photo.image.shape[0]}, as {photo.path} has",
            "Both pictures of a pair must be in one frame.",
        )
    matrix = crop_matrix(photo, size)
    transform = FaceTransform(size)
    return transform.placed(photo, matrix), transform.placed(caricature, matrix)
