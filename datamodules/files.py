"""Faces in image files: verified when the list is made, decoded when asked for."""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from datamodules.base import OnError
from datamodules.faces import DataError, Face, FaceSet, FloatArray
from datamodules.formats import bad_file, check_image, read_image, read_npy, read_pts
from datamodules.ibug68 import interocular_distance
from datamodules.layout import Entry, find_entry

_log = logging.getLogger(__name__)

_NAMED_WHEN_SKIPPED = 3
_LEAST_INTEROCULAR = 1.0
"""Outer eye corners closer than this many pixels are no annotation: points on a heap, or fractions of the image."""


@dataclass(frozen=True)
class Record:
    """One face by its image file.

    Attributes:
        path: the image.
        landmarks: image pixels, zero-based, shape ``(68, 2)``, or None where unlabelled.
        box: given face box ``(x0, y0, x1, y1)`` in image pixels, or None.
        subsets: names of the subsets the face counts in.
    """

    path: Path
    landmarks: FloatArray | None = None
    box: FloatArray | None = None
    subsets: tuple[str, ...] = ()


class FileFaces(FaceSet):
    """Faces in image files.

    Every file is decoded once at the start (a few thousand in seconds), so that a damaged one is known before
    training and not in its tenth hour; and landmarks far outside their image are refused.

    Args:
        records: the faces.
        on_error: ``raise`` one error that names the first bad file and counts the others, or ``skip`` bad files and
            log how many.
        name: what the set is called in messages, e.g. ``300W train``.
        problems: files already found bad while the records were made; they count like the others.

    Attributes:
        records: the good ones.
        paths: their images.

    Raises:
        DataError: a file is bad and ``on_error`` is ``raise``; or no face is left.
    """

    def __init__(
        self,
        records: Sequence[Record],
        on_error: OnError = "raise",
        name: str = "",
        problems: Sequence[DataError] = (),
    ) -> None:
        self.name = name
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            checked = list(pool.map(_check, records))
        bad = [*problems, *(result for result in checked if isinstance(result, DataError))]
        _report(bad, len(records) + len(problems), on_error, name)
        kept = [(record, size) for record, size in zip(records, checked, strict=True) if isinstance(size, int)]
        self.records = [record for record, _ in kept]
        self.paths = [record.path for record in self.records]
        self._bytes = [size for _, size in kept]

    @classmethod
    def from_entries(cls, entries: Sequence[Entry], on_error: OnError = "raise", name: str = "") -> Self:
        """Read the entries' landmark files, and make the set of the faces. Arguments and errors as in the class."""
        records: list[Record] = []
        problems: list[DataError] = []
        for entry in entries:
            try:
                records.append(_record(entry))
            except DataError as problem:
                problems.append(problem)
        return cls(records, on_error, name, problems)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def has_landmarks(self) -> bool:
        return all(record.landmarks is not None for record in self.records)

    def face(self, index: int) -> Face:
        record = self.records[index]
        landmarks = None if record.landmarks is None else record.landmarks.copy()
        return Face(read_image(record.path), str(record.path), landmarks, record.box, record.subsets)

    def subsets(self) -> list[tuple[str, ...]]:
        return [record.subsets for record in self.records]

    def shapes(self) -> list[FloatArray]:
        return [record.landmarks for record in self.records if record.landmarks is not None]

    def fingerprint(self) -> str:
        """Hash of names (from their common folder down), file sizes, landmarks and boxes; moving the data keeps it."""
        top = os.path.commonpath([path.absolute().parent for path in self.paths])
        digest = hashlib.sha256()
        for record, size in zip(self.records, self._bytes, strict=True):
            digest.update(f"{record.path.absolute().relative_to(top).as_posix()}\n{size}\n".encode())
            for values in (record.landmarks, record.box):
                digest.update(b"-" if values is None else np.asarray(values, np.float32).tobytes())
        return digest.hexdigest()[:16]


def read_face(image: str | Path) -> Face:
    """A single face by its image, with its landmarks and its box where they lie beside it.

    Raises:
        DataError: a file is missing or malformed, or the landmarks do not belong to the image.
    """
    path = Path(image).expanduser()
    pixels = read_image(path)
    record = _record(find_entry(path))
    if isinstance(problem := _check(record), DataError):
        raise problem
    return Face(pixels, str(image), record.landmarks, record.box)


def require_labelled(faces: FaceSet, role: str) -> None:
    """Refuse a set with unlabelled faces where labels are needed.

    Args:
        faces: the set.
        role: what it is used as, for the message, e.g. ``source``.

    Raises:
        DataError: a face is unlabelled; names the first and says how many of how many are.
    """
    if faces.has_landmarks:
        return
    missing = len(faces) - len(faces.shapes())
    first = next(face.path for face in faces if face.landmarks is None)
    raise bad_file(
        first,
        f"an image without landmarks ({missing} of {len(faces)} have none)",
        f"landmarks for every image of the {role}",
        f"Put x.pts (or x.npy) beside every x.jpg, or landmarks/x.jpg.npy beside images/x.jpg; leave images without "
        f"landmarks out of the {role}: they can be the target.",
    )


def _record(entry: Entry) -> Record:
    if entry.problem:
        raise entry.problem
    landmarks = None
    if entry.landmark_file:
        read = read_npy if entry.landmark_file.suffix.lower() == ".npy" else read_pts
        landmarks = read(entry.landmark_file)
    return Record(entry.path, landmarks, entry.box, entry.subsets)


def _report(bad: Sequence[DataError], total: int, on_error: OnError, name: str) -> None:
    label = f"{name}: " if name else ""
    if len(bad) == total:
        first = f" The first: {bad[0]}" if bad else ""
        raise DataError(f"{label}no usable face among {total} files.{first} Check the folder given as root.") from (
            bad[0] if bad else None
        )
    if bad and on_error == "raise":
        others = f" {len(bad)} of {total} files are bad in all." if len(bad) > 1 else ""
        raise DataError(f"{label}{bad[0]}{others} To go on without bad files, set data.on_error=skip") from bad[0]
    if bad:
        named = "\n".join(f"  {problem}" for problem in bad[:_NAMED_WHEN_SKIPPED])
        more = f"\n  and {len(bad) - _NAMED_WHEN_SKIPPED} more" if len(bad) > _NAMED_WHEN_SKIPPED else ""
        _log.warning("%sskipped %d of %d files:\n%s%s", label, len(bad), total, named, more)


def _check(record: Record) -> int | DataError:
    """The image file's size in bytes, or what is wrong with it or its landmarks."""
    try:
        width, height, size = check_image(record.path)
        if record.landmarks is not None:
            _check_landmarks(record.path, record.landmarks, width, height)
        if record.box is not None:
            _check_box(record.path, record.box, width, height)
    except DataError as problem:
        return problem
    return size


def _check_landmarks(path: Path, landmarks: FloatArray, width: int, height: int) -> None:
    border = max(width, height) / 2
    upper = np.array([width - 1, height - 1]) + border
    outside = np.flatnonzero(((landmarks < -border) | (landmarks > upper)).any(axis=1))
    if len(outside):
        x, y = landmarks[outside[0]]
        raise bad_file(
            path,
            f"landmark {outside[0]} (of 0…67) at ({x:.1f}, {y:.1f}) in an image of {width}×{height} pixels",
            "landmarks in or near the image",
            "Check that the landmark file belongs to this image (same size, not cropped or rescaled since), that x "
            "comes before y, and that .npy counts from 0 and .pts from 1.",
        )
    distance = float(interocular_distance(landmarks))
    if distance < _LEAST_INTEROCULAR:
        raise bad_file(
            path,
            f"landmarks whose outer eye corners (36 and 45) are {distance:.2g} pixels apart",
            "a face's landmarks in pixels",
            "Correct the landmark file: all points may be equal, or fractions of the image's size.",
        )


def _check_box(path: Path, box: FloatArray, width: int, height: int) -> None:
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        found = f"the box {tuple(round(float(v), 1) for v in box)} outside an image of {width}×{height} pixels"
        raise bad_file(path, found, "a box that overlaps the image", "Correct its line in boxes.csv.")
