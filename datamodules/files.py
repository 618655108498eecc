"""Faces in image files: all files are checked when the set is made, and decoded when a face is asked for."""

import hashlib
import logging
import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.faces import DataError, Face, FaceSet, FloatArray
from datamodules.formats import bad_file, check_image, read_image, read_npy, read_pts
from datamodules.ibug68 import interocular_distance
from datamodules.layout import Entry, find_entry

OnError = Literal["raise", "skip"]
"""What an unreadable file does: ``raise`` an error that names it, or ``skip`` it and log how many there were."""

_log = logging.getLogger(__name__)

_NAMED_WHEN_SKIPPED = 3
_LEAST_INTEROCULAR = 1.0
"""Pixels between the outer eye corners below which points cannot be a face: all equal, or fractions of the image."""


class FileFaces(FaceSet):
    """Faces in image files.

    Every file is decoded once when the set is made (a few thousand take seconds), so that a damaged file is reported
    before training starts. Landmarks far outside their image are refused.

    Args:
        entries: the faces.
        on_error: ``raise`` an error that names the first bad file and counts the others, or ``skip`` bad files and log
            how many there were.
        name: what the set is called in messages, e.g. ``300W train``.

    Attributes:
        entries: those whose files are good.
        paths: their images.

    Raises:
        DataError: a file is bad and ``on_error`` is ``raise``; or no face is left.
    """

    def __init__(self, entries: Sequence[Entry], on_error: OnError = "raise", name: str = "") -> None:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            read = list(pool.map(_read, entries))
        _report([result for result in read if isinstance(result, DataError)], len(entries), on_error, name)
        kept = [(e, result) for e, result in zip(entries, read, strict=True) if not isinstance(result, DataError)]
        self.entries = [entry for entry, _ in kept]
        self.paths = [entry.path for entry in self.entries]
        self._landmarks = [landmarks for _, (landmarks, _) in kept]
        self._bytes = [size for _, (_, size) in kept]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def has_landmarks(self) -> bool:
        return all(landmarks is not None for landmarks in self._landmarks)

    def face(self, index: int) -> Face:
        entry, landmarks = self.entries[index], self._landmarks[index]
        copied = None if landmarks is None else landmarks.copy()
        return Face(read_image(entry.path), str(entry.path), copied, entry.box, entry.subsets)

    def version(self, index: int) -> Hashable:
        """Its path, size and time of change; None where it cannot be found."""
        path = self.paths[index]
        try:
            status = path.stat()
        except OSError:  # reading it will say what is wrong
            return None
        return str(path), status.st_size, status.st_mtime_ns

    def subsets(self) -> list[tuple[str, ...]]:
        return [entry.subsets for entry in self.entries]

    def shapes(self) -> list[FloatArray]:
        return [landmarks for landmarks in self._landmarks if landmarks is not None]

    def frontal(self) -> list[int]:
        """Those that a list of the data set names, where it has one; else by pose, see :meth:`FaceSet.frontal`."""
        if any(entry.frontal is not None for entry in self.entries):
            return [i for i, entry in enumerate(self.entries) if entry.frontal]
        return super().frontal()

    def fingerprint(self) -> str:
        """Hash of paths below the common folder, file sizes, landmarks and boxes; it stays when the data are moved."""
        top = os.path.commonpath([path.absolute().parent for path in self.paths])
        digest = hashlib.sha256()
        for entry, size, landmarks in zip(self.entries, self._bytes, self._landmarks, strict=True):
            digest.update(f"{entry.path.absolute().relative_to(top).as_posix()}\n{size}\n".encode())
            for values in (landmarks, entry.box):
                digest.update(b"-" if values is None else np.asarray(values, np.float32).tobytes())
        return digest.hexdigest()[:16]


def read_face(image: str | Path) -> Face:
    """Read a single image, with the landmarks and the box that lie beside it.

    Raises:
        DataError: a file is missing or malformed, or the landmarks do not belong to the image.
    """
    path = Path(image).expanduser()
    pixels = read_image(path)
    entry = find_entry(path)
    read = _read(entry)
    if isinstance(read, DataError):
        raise read
    return Face(pixels, str(image), read[0], entry.box)


def require_labelled(faces: FaceSet, role: str) -> None:
    """Refuse a set with unlabelled faces where labels are needed.

    Args:
        faces: the set.
        role: what it is used as, for the message, e.g. ``source``.

    Raises:
        DataError: a face is unlabelled; the message names the first and counts them.
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


def _read(entry: Entry) -> tuple[FloatArray | None, int] | DataError:
    """The landmarks and the size of the image file in bytes, or what is wrong with either file."""
    try:
        if entry.problem:
            raise entry.problem
        landmarks = None
        if entry.landmark_file:
            read = read_npy if entry.landmark_file.suffix.lower() == ".npy" else read_pts
            landmarks = read(entry.landmark_file)
        width, height, size = check_image(entry.path)
        if landmarks is not None:
            _check_landmarks(entry.path, landmarks, width, height)
        if entry.box is not None:
            _check_box(entry.path, entry.box, width, height)
    except DataError as problem:
        return problem
    return landmarks, size


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
