"""A user's own images: one folder, with or without landmarks, split or not."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from datamodules.base import FaceDataModule
from datamodules.checks.foreign import other_labels
from datamodules.faces import DataError
from datamodules.files import FileFaces, OnError
from datamodules.layout import (
    Entry,
    orphans,
    read_entries,
    require_images,
    require_split,
    split_by_lists,
    without,
)

_log = logging.getLogger(__name__)

_LAYOUT: Final = "a folder of images (jpg, png, bmp, webp, tif), or one with images/, or with train/ and test/"


class _Split(NamedTuple):
    train: list[Entry]
    test: list[Entry] | None
    """None where the folder has no test split."""


class FolderDataModule(FaceDataModule):
    """A user's own images, as source, target or test set.

    The folder may have any of these layouts:

    - images with ``x.pts`` or ``x.npy`` beside each ``x.jpg``;
    - ``images/x.jpg`` with ``landmarks/x.jpg.npy`` (or ``x.npy``, ``x.pts``), as in CariFace;
    - images without landmarks (a target);
    - ``train/`` and ``test/``, each in one of these layouts. Without ``train/``, the images beside ``test/`` are for
      training.

    Instead of ``train/`` and ``test/``, ``train_list.txt`` and ``test_list.txt`` may name the images of each split,
    one per line; with only one of them, the other split is the rest. ``boxes.csv`` (header ``name,x0,y0,x1,y1``)
    beside the images, or beside ``images/``, gives face boxes for the crops of unlabelled images. Hidden files and
    files of other kinds are ignored; sub-folders of other names are not searched. The log counts pictures left out.

    Training faces may lack landmarks: as a target the set is then fine, as a source it is refused. Test faces are the
    labelled images only. Where a folder has neither a test split nor a ``holdout``, its test faces are all its labelled
    faces, those that ``train_faces`` returns too. That suits a folder that is only tested on, and a target, whose
    labels training does not see; for a source it would test on training data.

    Args:
        root: the folder.
        test_root: another folder to take the test faces from: its test split if it has one, else its labelled images.
        name: the subset the test faces count in.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        holdout: share of the labelled images to hold out of training for testing, in [0, 1); used if the folder has no
            test split and ``test_root`` is not given.
        seed: which images are held out. The choice depends on the seed and the files' names, not on the machine.
        limit: use at most so many training faces, spread evenly over the sorted names (for quick trials); None uses
            all.
    """

    def __init__(
        self,
        root: str,
        test_root: str | None = None,
        name: str = "own",
        on_error: OnError = "raise",
        holdout: float = 0.0,
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout is {holdout}; give a share of the labelled images, at least 0 and below 1.")
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; give at least 1 training face, or None for all.")
        self.root, self.subset, self.on_error = Path(root).expanduser(), name, on_error
        self.test_root = None if test_root is None else Path(test_root).expanduser()
        self.holdout, self.seed, self.limit = holdout, seed, limit

    def train_faces(self) -> FileFaces:
        """The training split, or all images where there is no split; labelled where landmarks are there.

        Raises:
            DataError: files are missing or malformed.
        """
        train = self._split().train
        require_split(self.root, "training", train)
        if self.limit is not None and self.limit < len(train):
            train = [train[i * len(train) // self.limit] for i in range(self.limit)]
        lacking = sum(not entry.landmark_file for entry in train)
        if 0 < lacking < len(train):
            message = "%s: %d of %d training images have no landmarks; a target may lack them, a source may not"
            _log.warning(message, self.root, lacking, len(train))
        return FileFaces(train, self.on_error, f"{self.subset} train")

    def test_faces(self) -> FileFaces:
        """The labelled faces of the test split, in the subset ``name``. The class says which they are.

        Raises:
            DataError: files are missing or malformed, or no test image is labelled.
        """
        entries = self._test_entries()
        test = [replace(entry, subsets=(self.subset,)) for entry in entries if entry.landmark_file or entry.problem]
        if not test:
            raise DataError(
                f"{self.test_root or self.root}: none of {len(entries)} test images has landmarks, and testing needs "
                f"them. Put x.pts (or x.npy) beside x.jpg or landmarks/x.jpg.npy beside images/x.jpg, or give another "
                f"folder as test_root. {other_labels(self.test_root or self.root)}".strip()
            )
        if len(test) < len(entries):
            message = "%s: left %d of %d images without landmarks out of the test"
            _log.warning(message, self.test_root or self.root, len(entries) - len(test), len(entries))
        return FileFaces(test, self.on_error, f"{self.subset} test")

    @property
    def has_test(self) -> bool:
        """Whether there are labelled test faces. Looks at names only, not into files."""
        return any(entry.landmark_file for entry in self._test_entries())

    def _test_entries(self) -> list[Entry]:
        split = self._split() if self.test_root is None else _read_split(self.test_root)
        return split.train if split.test is None else split.test

    def _split(self) -> _Split:
        split = _read_split(self.root)
        if split.test is not None or self.test_root is not None or not self.holdout:
            return split
        labelled = [entry for entry in split.train if entry.landmark_file]
        if len(labelled) < 2:
            return split
        count = min(max(1, round(self.holdout * len(labelled))), len(labelled) - 1)
        held_out = sorted(labelled, key=lambda entry: _random_key(entry.path.name, self.seed))[-count:]
        train = without(split.train, held_out)
        return _Split(train, without(split.train, train))


def _read_split(root: Path) -> _Split:
    entries = _entries(root)
    train_folder, test_folder = root / "train", root / "test"
    if not train_folder.is_dir() and not test_folder.is_dir():
        require_images(root, entries, _LAYOUT)
        return _Split(*split_by_lists(root, entries))
    if train_folder.is_dir():
        if entries:
            _log.warning("%s: ignored %d images beside the folder train/", root, len(entries))
        entries = _entries(train_folder)
        require_images(train_folder, entries, _LAYOUT)
    # Without train/, the root itself may hold no image: test/ alone can still be tested on.
    test = None
    if test_folder.is_dir():
        test = _entries(test_folder)
        require_images(test_folder, test, _LAYOUT)
    return _Split(entries, test)


def _entries(folder: Path) -> list[Entry]:
    entries = read_entries(folder, _LAYOUT)
    for place in {folder, *(entry.path.parent for entry in entries[:1])}:
        lone: Sequence[Entry] = orphans(place, entries)
        if lone and entries:
            message = "%s: %d landmark files belong to no image, e.g. %s"
            _log.warning(message, place, len(lone), lone[0].path.name)
    return entries


def _random_key(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()
