"""Faces in image files: all files are checked when the set is made, and decoded when a face is asked for."""

import hashlib
import logging
import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.checks.boxes import check_box, check_boxes_hold
from datamodules.checks.foreign import other_labels
from datamodules.checks.labels import check_landmarks, in_one_corner, refuse_whole_set
from datamodules.faces import DataError, Face, FaceSet, FloatArray
from datamodules.formats import ImageCheck, bad_file, check_image, read_image, read_npy, read_pts, shown
from datamodules.layout import Entry, find_entry

OnError = Literal["raise", "skip"]
"""What an unreadable file does: ``raise`` an error that names it, or ``skip`` it and log how many there were."""

_log = logging.getLogger(__name__)

_NAMED_WHEN_SKIPPED = 3
_GO_ON = "To go on without bad files, give --on-error=skip (evaluate, analyse) or --data.on_error=skip (train, fit)."
_NAMED = 5


@dataclass(frozen=True)
class _Read:
    """A face whose files are good."""

    entry: Entry
    landmarks: FloatArray | None
    image: ImageCheck


class FileFaces(FaceSet):
    """Faces in image files.

    Every file is decoded once when the set is made (a few thousand take seconds), so that a damaged file is reported
    before training starts. Labels and boxes that cannot be right are refused (:mod:`datamodules.checks`), as those of
    the whole set where at least half of its faces have them.

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
        problems = [result for result in read if isinstance(result, DataError)]
        labelled = sum(entry.landmark_file is not None for entry in entries)
        refuse_whole_set(problems, labelled, name, skip=on_error == "skip")
        _report(problems, len(entries), on_error, name)
        kept = [result for result in read if not isinstance(result, DataError)]
        _check_set(kept, name)
        self.entries = [one.entry for one in kept]
        self.paths = [entry.path for entry in self.entries]
        self._landmarks = [one.landmarks for one in kept]
        self._bytes = [one.image.size for one in kept]

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

    def files(self) -> list[Path]:
        return list(self.paths)

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
    return Face(pixels, str(image), read.landmarks, entry.box)


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
    folder = Path(first).parent
    others = other_labels(folder.parent if folder.name == "images" else folder)
    raise bad_file(
        first,
        f"an image without landmarks ({missing} of {len(faces)} have none)",
        f"landmarks for every image of the {role}",
        f"Put x.pts (or x.npy) beside every x.jpg, or landmarks/x.jpg.npy beside images/x.jpg; leave images without "
        f"landmarks out of the {role}: they can be the target. {others}".strip(),
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
        raise DataError(f"{label}{bad[0]}{others} {_GO_ON}") from bad[0]
    if bad:
        named = "\n".join(f"  {problem}" for problem in bad[:_NAMED_WHEN_SKIPPED])
        more = f"\n  and {len(bad) - _NAMED_WHEN_SKIPPED} more" if len(bad) > _NAMED_WHEN_SKIPPED else ""
        _log.warning("%sskipped %d of %d files:\n%s%s", label, len(bad), total, named, more)


def _read(entry: Entry) -> _Read | DataError:
    """What is known of a face once its files were read, or what is wrong with either file."""
    try:
        if entry.problem:
            raise entry.problem
        landmarks = None
        if entry.landmark_file:
            read = read_npy if entry.landmark_file.suffix.lower() == ".npy" else read_pts
            landmarks = read(entry.landmark_file)
        image = check_image(entry.path)
        if landmarks is not None:
            check_landmarks(entry.path, landmarks, image.width, image.height)
        if entry.box is not None:
            check_box(entry.path, entry.box, image.width, image.height)
    except DataError as problem:
        return problem
    return _Read(entry, landmarks, image)


def _check_set(read: Sequence[_Read], name: str) -> None:
    """Warn of what may be wrong with faces whose files are all right, and refuse boxes that belong to no face.

    Raises:
        DataError: see :func:`check_boxes_hold`.
    """
    label = f"{name}: " if name else ""
    odd = [f"{shown(one.entry.path)} ({one.image.oddity})" for one in read if one.image.oddity]
    if odd:
        more = f", and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        message = "%s%d of %d pictures can hardly show a face: %s%s"
        _log.warning(message, label, len(odd), len(read), ", ".join(odd[:_NAMED]), more)
    labelled = [(one, one.landmarks) for one in read if one.landmarks is not None]
    sizes = [(one.image.width, one.image.height) for one, _ in labelled]
    if in_one_corner([landmarks for _, landmarks in labelled], sizes):
        message = "%sall %d labelled faces lie in the upper left quarter of their pictures, e.g. %s: the labels may "
        message += "be of smaller copies of the pictures"
        _log.warning(message, label, len(labelled), shown(labelled[0][0].entry.path))
    boxed = [(one.entry.path, landmarks, one.entry.box) for one, landmarks in labelled if one.entry.box is not None]
    check_boxes_hold(name, boxed)
