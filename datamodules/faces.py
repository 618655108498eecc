"""What flows from a data set to a loss: ``Face`` (a decoded image), ``FaceSample`` (a crop), and batches of crops.

Two coordinate frames occur. *Image pixels*: (x, y) in the original image, pixel centres at integers, zero-based, x to
the right, y down. *Crop coordinates*: ``p = x_px / size`` in the square crop of ``size`` pixels.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.ibug68 import FRONTAL_TURN, sideways_turn

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
_Value = TypeVar("_Value")


class DataError(ValueError):
    """Bad input data. The message names the file, what was found, what was expected, and what to do."""


def landmark_box(landmarks: FloatArray) -> FloatArray:
    """The smallest box ``(x0, y0, x1, y1)`` around landmarks of shape ``(68, 2)``, in their frame."""
    return np.concatenate([landmarks.min(0), landmarks.max(0)])


@dataclass
class Face:
    """One decoded image with what is known of its face.

    Attributes:
        image: RGB, uint8, shape ``(H, W, 3)``.
        path: the image's file, or a name such as ``synthetic/photo/0/12``; used in messages and per-face reports.
        landmarks: image pixels, shape ``(68, 2)``, or None where unlabelled.
        box: given or detected face box ``(x0, y0, x1, y1)`` in image pixels, or None.
        subsets: names of the subsets the face counts in, e.g. ``("300w_full", "300w_common")``.
    """

    image: ByteArray
    path: str
    landmarks: FloatArray | None = None
    box: FloatArray | None = None
    subsets: tuple[str, ...] = ()


class FaceSet(Sequence[Face], ABC):
    """A sequence of faces, each decoded (or drawn) when it is indexed."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def face(self, index: int) -> Face:
        """Decode or draw face ``index``, 0 ≤ index < len."""

    @property
    @abstractmethod
    def has_landmarks(self) -> bool:
        """Whether every face of the set is labelled."""

    @abstractmethod
    def subsets(self) -> list[tuple[str, ...]]:
        """Each face's subsets, without decoding an image."""

    @abstractmethod
    def shapes(self) -> list[FloatArray]:
        """The landmarks of all labelled faces in image pixels, each ``(68, 2)``, without decoding an image."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that changes with the set's content; weights trained on the set are kept under it."""

    def files(self) -> list[Path]:
        """The picture files that faces are decoded from, in their order; none of those that are drawn."""
        return []

    def version(self, index: int) -> Hashable:
        """What changes when face ``index`` does, without decoding its image; None, and it is never kept, if unknown."""
        return None

    def frontal(self) -> list[int]:
        """The places of the faces that look into the camera, of a labelled set; by pose unless the set knows better.

        By pose they are those whose landmarks show a :func:`sideways_turn` of at most :data:`FRONTAL_TURN`.
        """
        return [i for i, shape in enumerate(self.shapes()) if sideways_turn(shape) <= FRONTAL_TURN]

    def __getitem__(self, index: int) -> Face:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.face(index)


class BoxedFaces(FaceSet):
    """A face set with boxes of its own in the place of those given, e.g. detected ones.

    Args:
        faces: the set.
        boxes: of each face, ``(x0, y0, x1, y1)`` in image pixels, or None where there is none: then the whole image.
    """

    def __init__(self, faces: FaceSet, boxes: Sequence[FloatArray | None]) -> None:
        assert len(faces) == len(boxes), "a box, or None, for each face"
        self.faces, self.boxes = faces, list(boxes)

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def has_landmarks(self) -> bool:
        return self.faces.has_landmarks

    def subsets(self) -> list[tuple[str, ...]]:
        return self.faces.subsets()

    def shapes(self) -> list[FloatArray]:
        return self.faces.shapes()

    def frontal(self) -> list[int]:
        return self.faces.frontal()

    def files(self) -> list[Path]:
        return self.faces.files()

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for box in self.boxes:
            digest.update(b"-" if box is None else np.asarray(box, np.float32).tobytes())
        return f"boxed({digest.hexdigest()[:16]}):{self.faces.fingerprint()}"

    def version(self, index: int) -> Hashable:
        version, box = self.faces.version(index), self.boxes[index]
        return None if version is None else (version, None if box is None else tuple(box.tolist()))

    @property
    def lacking(self) -> int:
        """How many faces have no box."""
        return sum(box is None for box in self.boxes)

    def face(self, index: int) -> Face:
        return replace(self.faces[index], box=self.boxes[index])


class UnlabelledFaces(FaceSet):
    """A face set without its landmarks, so that the labels of a target never reach training.

    Args:
        faces: the set to hide the landmarks of.
        oracle_box: crop to the box of the annotated landmarks (the paper's protocol). Otherwise the crop is taken from
            the face's given or detected box, or is the whole image where there is none.
    """

    def __init__(self, faces: FaceSet, oracle_box: bool = False) -> None:
        self.faces, self.oracle_box = faces, oracle_box

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def has_landmarks(self) -> bool:
        return False

    def subsets(self) -> list[tuple[str, ...]]:
        return self.faces.subsets()

    def shapes(self) -> list[FloatArray]:
        return []

    def files(self) -> list[Path]:
        return self.faces.files()

    def fingerprint(self) -> str:
        return f"unlabelled(oracle_box={self.oracle_box}):{self.faces.fingerprint()}"

    def version(self, index: int) -> Hashable:
        version = self.faces.version(index)
        return None if version is None else (version, self.oracle_box)

    def face(self, index: int) -> Face:
        face = self.faces[index]
        box = face.box
        if self.oracle_box and face.landmarks is not None:
            box = landmark_box(face.landmarks)
        return replace(face, landmarks=None, box=box)


class SomeFaces(FaceSet):
    """So many faces of a set, spread evenly over it; all where it has no more.

    Args:
        faces: the set.
        count: how many, 1 or more.
    """

    def __init__(self, faces: FaceSet, count: int) -> None:
        kept = min(count, len(faces))
        self.faces, self.places = faces, [i * len(faces) // kept for i in range(kept)]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def has_landmarks(self) -> bool:
        return self.faces.has_landmarks

    def subsets(self) -> list[tuple[str, ...]]:
        return self._chosen(self.faces.subsets())

    def shapes(self) -> list[FloatArray]:
        shapes = self.faces.shapes()
        # Of a set in which only some are labelled, it is not known whose shapes these are.
        return self._chosen(shapes) if len(shapes) == len(self.faces) else shapes

    def frontal(self) -> list[int]:
        frontal = set(self.faces.frontal())
        return [place for place, i in enumerate(self.places) if i in frontal]

    def files(self) -> list[Path]:
        files = self.faces.files()
        # Of a set in which some are drawn, it is not known whose files these are.
        return [files[i] for i in self.places] if len(files) == len(self.faces) else files

    def fingerprint(self) -> str:
        return f"some({len(self)}):{self.faces.fingerprint()}"

    def version(self, index: int) -> Hashable:
        return self.faces.version(self.places[index])

    def face(self, index: int) -> Face:
        return self.faces[self.places[index]]

    def _chosen(self, values: Sequence[_Value]) -> list[_Value]:
        return [values[i] for i in self.places]


class JoinedFaces(FaceSet):
    """Several face sets one after the other (e.g. the labelled sets of the ``oracle`` setting)."""

    def __init__(self, sets: Sequence[FaceSet]) -> None:
        self.sets = list(sets)
        self._ends = np.cumsum([len(s) for s in self.sets])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.sets else 0

    @property
    def has_landmarks(self) -> bool:
        return all(s.has_landmarks for s in self.sets)

    def subsets(self) -> list[tuple[str, ...]]:
        return [subsets for s in self.sets for subsets in s.subsets()]

    def shapes(self) -> list[FloatArray]:
        return [shape for s in self.sets for shape in s.shapes()]

    def files(self) -> list[Path]:
        return [file for s in self.sets for file in s.files()]

    def fingerprint(self) -> str:
        return "+".join(s.fingerprint() for s in self.sets)

    def frontal(self) -> list[int]:
        starts = [0, *self._ends.tolist()]
        return [start + i for start, s in zip(starts, self.sets, strict=False) for i in s.frontal()]

    def version(self, index: int) -> Hashable:
        faces, place = self._place(index)
        return faces.version(place)

    def face(self, index: int) -> Face:
        faces, place = self._place(index)
        return faces[place]

    def _place(self, index: int) -> tuple[FaceSet, int]:
        """The set that holds face ``index``, and its place there."""
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.sets[which], index - (int(self._ends[which - 1]) if which else 0)


class ChosenFaces(FaceSet):
    """Some faces of a set, e.g. those of one subset.

    Args:
        faces: the set.
        places: of the chosen ones in it, in the order that they are to have.
    """

    def __init__(self, faces: FaceSet, places: Sequence[int]) -> None:
        self.faces, self.places = faces, list(places)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def has_landmarks(self) -> bool:
        return self.faces.has_landmarks

    def subsets(self) -> list[tuple[str, ...]]:
        subsets = self.faces.subsets()
        return [subsets[place] for place in self.places]

    def shapes(self) -> list[FloatArray]:
        shapes = self.faces.shapes()
        return [shapes[place] for place in self.places] if self.has_landmarks else []

    def files(self) -> list[Path]:
        files = self.faces.files()
        # Of a set in which some are drawn, it is not known whose files these are.
        return [files[i] for i in self.places] if len(files) == len(self.faces) else files

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.places).encode()).hexdigest()
        return f"chosen({digest[:16]}):{self.faces.fingerprint()}"

    def version(self, index: int) -> Hashable:
        return self.faces.version(self.places[index])

    def face(self, index: int) -> Face:
        return self.faces[self.places[index]]


@dataclass
class FaceSample:
    """One square crop, ready for a landmarker.

    Attributes:
        pixels: RGB, shape ``(3, S, S)``, uint8.
        matrix: affine map from image pixels to crop pixels, shape ``(2, 3)``: ``(x, y)_crop = A @ (x, y, 1)``.
            That of a mirrored crop contains the mirroring.
        flipped: whether the crop is mirrored; its landmarks are then permuted by ``FLIP_PERMUTATION``.
        landmarks: crop coordinates, shape ``(68, 2)``, or None where unlabelled.
        index: index in the face set.
        path: the image's path.
    """

    pixels: Tensor
    matrix: Tensor
    flipped: bool
    landmarks: Tensor | None
    index: int
    path: str

    @property
    def image(self) -> Tensor:
        """The pixels as a landmarker takes them, shape ``(3, S, S)``, float32 in [0, 1]."""
        return self.pixels.float().div_(255)


@dataclass
class FaceBatch:
    """The fields of :class:`FaceSample` stacked along a first axis; ``landmarks`` is None if any sample lacks them.

    Images are collated as bytes, and :meth:`to` makes them float32 in [0, 1] where it moves them: a quarter of the data
    crosses to a device. It moves itself because Lightning makes non-blocking transfers of plain tensors only.
    """

    images: Tensor
    matrices: Tensor
    flipped: Tensor
    landmarks: Tensor | None
    indices: Tensor
    paths: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Self:
        """The batch on ``device``, its images float32 in [0, 1].

        Args:
            device: where to.
            non_blocking: do not wait for copies from pinned memory to a GPU; those to the CPU are always waited for.
        """
        free = non_blocking and torch.device(device).type != "cpu"
        moved = self._with_tensors(lambda tensor: tensor.to(device, non_blocking=free))
        images = moved.images
        return replace(moved, images=images.float().div_(255)) if images.dtype == torch.uint8 else moved

    def pin_memory(self) -> Self:
        """The batch with its tensors in pinned memory (called by ``DataLoader``)."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(v) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


@dataclass
class TrainBatch:
    """A training step's labelled source faces and, where the method uses a target, unlabelled target faces."""

    source: FaceBatch
    target: FaceBatch | None = None

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Self:
        """The batch on ``device``, see :meth:`FaceBatch.to`."""
        return self._with_batches(lambda batch: batch.to(device, non_blocking))

    def pin_memory(self) -> Self:
        """The batch with its tensors in pinned memory (called by ``DataLoader``)."""
        return self._with_batches(FaceBatch.pin_memory)

    def _with_batches(self, change: Callable[[FaceBatch], FaceBatch]) -> Self:
        return replace(self, source=change(self.source), target=None if self.target is None else change(self.target))


def collate(samples: Sequence[FaceSample]) -> FaceBatch:
    """Stack samples of one size into a batch; landmarks are kept only if every sample has them."""
    labelled = [s.landmarks for s in samples if s.landmarks is not None]
    return FaceBatch(
        images=torch.stack([s.pixels for s in samples]),
        matrices=torch.stack([s.matrix for s in samples]),
        flipped=torch.tensor([s.flipped for s in samples]),
        landmarks=torch.stack(labelled) if len(labelled) == len(samples) else None,
        indices=torch.tensor([s.index for s in samples]),
        paths=[s.path for s in samples],
    )
