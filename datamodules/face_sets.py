"""Face sets made of others: joined, chosen from, without labels, or with boxes of their own."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from datamodules.faces import Face, FaceSet, FloatArray, landmark_box

_Value = TypeVar("_Value")


class _FacesOf(FaceSet):
    """Another set's faces, changed one by one.

    Args:
        faces: the set.
    """

    def __init__(self, faces: FaceSet) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def has_landmarks(self) -> bool:
        return self.faces.has_landmarks

    def subsets(self) -> list[tuple[str, ...]]:
        return self.faces.subsets()

    def shapes(self) -> list[FloatArray]:
        return self.faces.shapes()

    def files(self) -> list[Path]:
        return self.faces.files()


class UnlabelledFaces(_FacesOf):
    """A face set without its landmarks, so that the labels of a target never reach training.

    Args:
        faces: the set to hide the landmarks of.
        oracle_box: crop to the box of the annotated landmarks (the paper's protocol). Otherwise the crop is taken from
            the face's given or detected box, or is the whole image where there is none.
    """

    def __init__(self, faces: FaceSet, oracle_box: bool = False) -> None:
        super().__init__(faces)
        self.oracle_box = oracle_box

    @property
    def has_landmarks(self) -> bool:
        return False

    def shapes(self) -> list[FloatArray]:
        return []

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


class BoxedFaces(_FacesOf):
    """A face set with boxes of its own in the place of those given, e.g. detected ones.

    Args:
        faces: the set.
        boxes: of each face, ``(x0, y0, x1, y1)`` in image pixels, or None where there is none: then the whole image.
    """

    def __init__(self, faces: FaceSet, boxes: Sequence[FloatArray | None]) -> None:
        assert len(faces) == len(boxes), "a box, or None, for each face"
        super().__init__(faces)
        self.boxes = list(boxes)

    def frontal(self) -> list[int]:
        return self.faces.frontal()

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
        return self._chosen(self.faces.subsets())

    def shapes(self) -> list[FloatArray]:
        return self._chosen(self.faces.shapes())

    def frontal(self) -> list[int]:
        frontal = set(self.faces.frontal())
        return [place for place, i in enumerate(self.places) if i in frontal]

    def files(self) -> list[Path]:
        return self._chosen(self.faces.files())

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.places).encode()).hexdigest()
        return f"chosen({digest[:16]}):{self.faces.fingerprint()}"

    def version(self, index: int) -> Hashable:
        return self.faces.version(self.places[index])

    def face(self, index: int) -> Face:
        return self.faces[self.places[index]]

    def _chosen(self, values: list[_Value]) -> list[_Value]:
        """Those of the chosen faces; all, where only some faces have one: whose they are is not known."""
        return [values[i] for i in self.places] if len(values) == len(self.faces) else values


class SomeFaces(ChosenFaces):
    """So many faces of a set, spread evenly over it; all where it has no more.

    Args:
        faces: the set.
        count: how many, 1 or more.
    """

    def __init__(self, faces: FaceSet, count: int) -> None:
        kept = min(count, len(faces))
        super().__init__(faces, [i * len(faces) // kept for i in range(kept)])

    def fingerprint(self) -> str:
        return f"some({len(self)}):{self.faces.fingerprint()}"


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
