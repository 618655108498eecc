"""Face sets as a loader indexes them: crops, and whole faces, whose decoded images are kept from epoch to epoch."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.faces import ByteArray, Face, FaceSample, FaceSet
from datamodules.resampling import Matrix, View
from datamodules.resampling import cut as cut_out
from datamodules.store import SharedStore
from datamodules.transforms import FaceTransform


@dataclass(frozen=True)
class Cut:
    """Which face, and how it is cropped. It holds all that a loader process must know, and nothing of the training.

    Attributes:
        index: in the face set.
        seed: of the augmentation; None for the plain crop.
        box: crop to this one ``(x0, y0, x1, y1)``, image pixels, in the place of the face's own; None for its own.
    """

    index: int
    seed: int | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Shelf:
    """The slots of a store that belong to one face set, from slot ``first`` on.

    What is kept has a version, and is got only under the same one.
    """

    store: SharedStore
    first: int

    def get(self, index: int, version: Hashable) -> Any:
        """What is kept of face ``index``, or None."""
        kept = self.store.get(self.first + index)
        return kept[1] if kept is not None and kept[0] == version else None

    def put(self, index: int, version: Hashable, value: object) -> None:
        """Keep this of face ``index``, if there is room."""
        self.store.put(self.first + index, (version, value))


@dataclass(frozen=True)
class _Seen:
    """A face without its image, and the view from which it is cropped."""

    face: Face
    view: View

    @property
    def blank(self) -> Face:
        """The face with an image of the right size that is black (and takes no memory)."""
        size = (self.view.height, self.view.width, 3)
        return replace(self.face, image=np.broadcast_to(np.uint8(0), size))


class FaceDataset(Dataset[Any]):
    """A face set seen through a transform, indexed by a :class:`Cut`, or by an int for the plain crop.

    A face is decoded once and its view kept (:class:`~datamodules.resampling.View`), of which every crop is made: also
    where nothing can be kept, so that crops are the same. The key is the face's version (of a file: path, size and
    time of change), its own box and what the transform needs; a crop to another box that leaves the view, or needs
    finer pixels, is made from the image, decoded anew.

    Args:
        faces: the set.
        transform: makes the crops.
        shelf: where views are kept; None keeps none.
        moving: whether faces are cropped to boxes of others' finding: their views are then roomy.
    """

    def __init__(
        self, faces: FaceSet, transform: FaceTransform, shelf: Shelf | None = None, moving: bool = False
    ) -> None:
        self.faces, self.transform, self.shelf, self.moving = faces, transform, shelf, moving

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: int | Cut) -> FaceSample:
        cut = key if isinstance(key, Cut) else Cut(key)
        seen = self.seen(cut.index)
        face = seen.blank if cut.box is None else replace(seen.blank, box=np.array(cut.box, np.float32))

        def resample(matrix: Matrix, size: int) -> ByteArray:
            if seen.view.shows(matrix, size):
                return seen.view.cut(matrix, size)
            return cut_out(self.faces[cut.index].image, matrix, size)

        return self.transform(face, cut.index, cut.seed, resample)

    def seen(self, index: int) -> _Seen:
        """The face and its view: kept, or made now."""
        version = self._version(index)
        kept = None if self.shelf is None or version is None else self.shelf.get(index, version)
        if isinstance(kept, _Seen):
            return kept
        face = self.faces[index]
        made = _Seen(replace(face, image=np.empty((0, 0, 3), np.uint8)), self.transform.view(face, self.moving))
        if self.shelf is not None and version is not None:
            self.shelf.put(index, version, made)
        return made

    def _version(self, index: int) -> Hashable:
        version = self.faces.version(index)
        return None if version is None else (version, self.transform.needs, self.moving)


class WholeFaces(Dataset[Any]):
    """The uncropped faces of a dataset, from its views where those are whole images, else decoded."""

    def __init__(self, faces: FaceDataset) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Face:
        if self.faces.shelf is None:
            return self.faces.faces[index]
        seen = self.faces.seen(index)
        return replace(seen.face, image=seen.view.pixels) if seen.view.whole else self.faces.faces[index]


class PlainCrops(Dataset[Any]):
    """The plain crops of a face set, kept as they are: a second pass decodes and resamples nothing."""

    def __init__(self, faces: FaceSet, size: int, shelf: Shelf | None = None) -> None:
        self.faces, self.transform, self.shelf = faces, FaceTransform(size), shelf

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> FaceSample:
        version = self.faces.version(index)
        if self.shelf is None or version is None:
            return self.transform(self.faces[index], index)
        version = (version, self.transform.size)
        kept = self.shelf.get(index, version)
        if kept is None:
            sample = self.transform(self.faces[index], index)
            self.shelf.put(index, version, {name: _as_array(value) for name, value in vars(sample).items()})
            return sample
        return FaceSample(**{name: _as_tensor(value) for name, value in kept.items()})


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
