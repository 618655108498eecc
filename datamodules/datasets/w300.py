"""300W: photos with 68 landmarks (Sagonas et al., 2013), the source of every setting of the paper."""

import logging
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from datamodules.base import FaceDataModule
from datamodules.files import FileFaces, OnError
from datamodules.formats import bad_file, read_list
from datamodules.layout import Entry, check_counts, expect_landmarks, list_folder, orphans, read_entries, require_images
from datamodules.synthetic.dataset import SyntheticDataModule

_log = logging.getLogger(__name__)

TRAIN_FOLDERS: Final = {"afw": 337, "helen/trainset": 2000, "lfpw/trainset": 811}
"""Folders of training images and their numbers of images: 3,148 in all."""

TEST_FOLDERS: Final = {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
"""Folders of test images and their numbers of images: 689 in all."""

FULL: Final = "300w_full"
COMMON: Final = "300w_common"
TEST_SUBSETS: Final = {
    "helen/testset": (FULL, COMMON),
    "lfpw/testset": (FULL, COMMON),
    "ibug": (FULL, "300w_challenge"),
}
"""The subsets that the images of each test folder count in: 554 in common, 135 in challenge, all 689 in full."""

FRONTAL_LIST: Final = "frontal_train_list.txt"
"""Names of the frontal training photos, which the published program's warper phase is restricted to."""

_NAMED_WHEN_MISSING: Final = 5

_LAYOUT: Final = "the 300W folder with afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset and ibug"


class W300DataModule(FaceDataModule):
    """300W as distributed: images (jpg, png) beside their ``.pts`` files, in six folders.

    Mirrored copies (``*_mirror.*``), which some distributions add, are ignored. Where the folder holds
    ``frontal_train_list.txt``, that list says which training photos are frontal (see :func:`mark_frontal`).

    Args:
        root: the folder that holds ``afw``, ``helen``, ``lfpw`` and ``ibug``.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        strict_counts: refuse folders whose numbers of images differ from the paper's Table 1.
    """

    def __init__(self, root: str, on_error: OnError = "raise", strict_counts: bool = True) -> None:
        super().__init__()
        self.root, self.on_error, self.strict_counts = Path(root).expanduser(), on_error, strict_counts

    def train_faces(self) -> FileFaces:
        """afw, helen/trainset and lfpw/trainset: 3,148 labelled faces.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        return FileFaces(mark_frontal(self.root, self._entries_of(TRAIN_FOLDERS)), self.on_error, "300W train")

    def test_faces(self) -> FileFaces:
        """helen/testset, lfpw/testset and ibug: 689 labelled faces in ``300w_full``, ``_common`` and ``_challenge``.

        Where one of the two parts is not there at all (``strict_counts`` accepts that), no face counts in
        ``300w_full``: it would be the other part under a wrong name.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        entries = self._entries_of(TEST_FOLDERS)
        parts = {name for entry in entries for name in entry.subsets} - {FULL}
        if len(parts) == 1:
            _log.info("%s: only %s is there; %s cannot be computed", self.root, *parts, FULL)
            entries = [replace(entry, subsets=tuple(parts)) for entry in entries]
        return FileFaces(entries, self.on_error, "300W test")

    def common_faces(self) -> FileFaces:
        """The common part of the test faces alone, helen/testset and lfpw/testset: 554.

        Raises:
            DataError: see :meth:`test_faces`; or there are none.
        """
        folders = {folder: count for folder, count in TEST_FOLDERS.items() if COMMON in TEST_SUBSETS[folder]}
        entries = self._entries_of(folders)
        return FileFaces([replace(entry, subsets=(COMMON,)) for entry in entries], self.on_error, "300W common")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn photos in the three subsets; those of ``300w_challenge`` vary more in pose and expression."""
        subsets = {COMMON: (0.0, 0.8), "300w_challenge": (0.8, 1.0), "300w_full": (0.0, 1.0)}
        return SyntheticDataModule("photo", name="300w", seed=seed, subsets=subsets, hard_from=0.8)

    def _entries_of(self, counts: dict[str, int]) -> list[Entry]:
        list_folder(self.root, _LAYOUT, "Give the folder that holds them, e.g. ROOT/300W.")
        found = {folder: self._entries(folder) for folder in counts}
        entries = [entry for in_folder in found.values() for entry in in_folder]
        require_images(self.root, entries, _LAYOUT)
        if self.strict_counts:
            check_counts(self.root, "300W", {folder: len(in_folder) for folder, in_folder in found.items()}, counts)
        return entries

    def _entries(self, folder: str) -> list[Entry]:
        path = self.root / folder
        if not path.exists():
            return []
        images = read_entries(path, f"300W's {folder}")
        entries = [*expect_landmarks(images), *orphans(path, images)]
        kept = [entry for entry in entries if not entry.path.stem.lower().endswith("_mirror")]
        if len(kept) < len(entries):
            _log.info("%s: ignored %d mirrored copies (*_mirror)", path, len(entries) - len(kept))
        return [replace(entry, subsets=TEST_SUBSETS.get(folder, ())) for entry in kept]


def mark_frontal(root: Path, entries: list[Entry]) -> list[Entry]:
    """The training photos, each marked as frontal or not by ``root/frontal_train_list.txt``; unmarked without a list.

    The list as published has one file name a line, without its folder. A name stands for every photo with its stem: the
    suffix may differ (LFPW's photos are .png, and .jpg where they were compressed). A name with a folder, e.g.
    ``lfpw/trainset/image_0002.png``, stands for photos in that folder alone. Names without a photo are logged.

    Raises:
        DataError: the list is malformed, or none of its names is a photo's.
    """
    path = root / FRONTAL_LIST
    if not path.exists():
        return entries
    # Windows wrote the published list; its folders may be written either way.
    listed = {name: PurePosixPath(name.replace("\\", "/")).with_suffix("") for name in read_list(path)}
    photos = [PurePosixPath(entry.path.relative_to(root).as_posix()).with_suffix("") for entry in entries]
    known = {name for photo in photos for name in _names_of(photo)}
    missing = [name for name, stem in listed.items() if stem not in known]
    if len(missing) == len(listed):
        found, expected = f"{len(listed)} names, none of them of a training photo", "names such as image_0002.png"
        raise bad_file(path, found, expected, f"Correct the names, or remove {FRONTAL_LIST} to go by pose.")
    if missing:
        named = ", ".join(missing[:_NAMED_WHEN_MISSING]) + ", ..." * (len(missing) > _NAMED_WHEN_MISSING)
        _log.info("%s: no training photo for %d of its %d names: %s", path, len(missing), len(listed), named)
    frontal = set(listed.values())
    return [
        replace(entry, frontal=not frontal.isdisjoint(_names_of(photo)))
        for entry, photo in zip(entries, photos, strict=True)
    ]


def _names_of(photo: PurePosixPath) -> list[PurePosixPath]:
    """A photo's path below 300W's folder without the parts from the left, one by one, down to its name alone."""
    return [PurePosixPath(*photo.parts[start:]) for start in range(len(photo.parts))]
