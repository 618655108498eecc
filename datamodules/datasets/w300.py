"""300W: photos with 68 landmarks (Sagonas et al., 2013), the source of every setting of the paper."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from datamodules.base import FaceDataModule
from datamodules.files import FileFaces, OnError
from datamodules.layout import Entry, check_counts, expect_landmarks, list_folder, orphans, read_entries, require_images
from datamodules.synthetic.dataset import SyntheticDataModule

_log = logging.getLogger(__name__)

TRAIN_FOLDERS: Final = {"afw": 337, "helen/trainset": 2000, "lfpw/trainset": 811}
"""Folders of training images and their numbers of images: 3,148 in all."""

TEST_FOLDERS: Final = {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
"""Folders of test images and their numbers of images: 689 in all."""

TEST_SUBSETS: Final = {
    "helen/testset": ("300w_full", "300w_common"),
    "lfpw/testset": ("300w_full", "300w_common"),
    "ibug": ("300w_full", "300w_challenge"),
}
"""The subsets that the images of each test folder count in: 554 in common, 135 in challenge, all 689 in full."""

_LAYOUT: Final = "the 300W folder with afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset and ibug"


class W300DataModule(FaceDataModule):
    """300W as distributed: images (jpg, png) beside their ``.pts`` files, in six folders.

    Mirrored copies (``*_mirror.*``), which some distributions add, are ignored.

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
        return self._faces(TRAIN_FOLDERS, "300W train")

    def test_faces(self) -> FileFaces:
        """helen/testset, lfpw/testset and ibug: 689 labelled faces in ``300w_full``, ``_common`` and ``_challenge``.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        return self._faces(TEST_FOLDERS, "300W test")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn photos in the three subsets; those of ``300w_challenge`` vary more in pose and expression."""
        subsets = {"300w_common": (0.0, 0.8), "300w_challenge": (0.8, 1.0), "300w_full": (0.0, 1.0)}
        return SyntheticDataModule("photo", name="300w", seed=seed, subsets=subsets, hard_from=0.8)

    def _faces(self, counts: dict[str, int], name: str) -> FileFaces:
        list_folder(self.root, _LAYOUT, "Give the folder that holds them, e.g. ROOT/300W.")
        found = {folder: self._entries(folder) for folder in counts}
        entries = [entry for in_folder in found.values() for entry in in_folder]
        require_images(self.root, entries, _LAYOUT)
        if self.strict_counts:
            check_counts(self.root, "300W", {folder: len(in_folder) for folder, in_folder in found.items()}, counts)
        return FileFaces(entries, self.on_error, name)

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
