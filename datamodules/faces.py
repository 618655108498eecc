"""What flows from a data set to a loss: ``Face`` (a decoded image), ``FaceSample`` (a crop), and batches of crops.

Two coordinate frames occur. *Image pixels*: (x, y) in the original image, pixel centres at integers, zero-based, x to
the right, y down. *Crop coordinates*: ``p = x_px / size`` in the square crop of ``size`` pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.ibug68 import FRONTAL_TURN, sideways_turn

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


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
