"""300W: photos with 68 landmarks (Sagonas et al., 2013), the source of every setting of the paper."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from datamodules.base import FaceDataModule, OnError
from datamodules.files import FileFaces
from datamodules.layout import Entry, check_counts, labelled, list_folder, orphans, read_entries, require_images
from datamodules.synthetic.dataset import SyntheticDataModule

_log = logging.getLogger(__name__)

TRAIN_COUNTS: Final = {"afw": 337, "helen/trainset": 2000, "lfpw/trainset": 811}
"""Training subsets and their sizes: 3,148 faces."""

TEST_COUNTS: Final = {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
"""Test subsets and their sizes: 689 faces."""

TEST_GROUPS: Final = {
    "helen/testset": ("300w_full", "300w_common"),
    "lfpw/testset": ("300w_full", "300w_common"),
    "ibug": ("300w_full", "300w_challenge"),
}
"""The subsets each test subset counts in: common has 554 faces, challenge 135, full all 689."""

_LAYOUT: Final = "the 300W folder with afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset and ibug"


class W300DataModule(FaceDataModule):
    """300W as distributed: images (jpg, png) beside their ``.pts`` files, in one folder per subset.

    Mirrored copies (``*_mirror.*``), which some distributions add, do not belong to the data set and are ignored.

    Args:
        root: the folder that holds ``afw``, ``helen``, ``lfpw`` and ``ibug``.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        strict_counts: refuse subsets whose sizes differ from the paper's Table 1.
    """

    def __init__(self, root: str, on_error: OnError = "raise", strict_counts: bool = True) -> None:
        super().__init__()
        self.root, self.on_error, self.strict_counts = Path(root).expanduser(), on_error, strict_counts

    def train_faces(self) -> FileFaces:
        """afw, helen/trainset and lfpw/trainset: 3,148 labelled faces.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        return self._faces(TRAIN_COUNTS, "300W train")

    def test_faces(self) -> FileFaces:
        """helen/testset, lfpw/testset and ibug: 689 labelled faces in ``300w_full``, ``_common`` and ``_challenge``.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        return self._faces(TEST_COUNTS, "300W test")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn photos under the three subsets' names, those of ``300w_challenge`` more varied."""
        subsets = {"300w_common": (0.0, 0.8), "300w_challenge": (0.8, 1.0), "300w_full": (0.0, 1.0)}
        return SyntheticDataModule("photo", name="300w", seed=seed, subsets=subsets, hard_from=0.8)

    def _faces(self, counts: dict[str, int], name: str) -> FileFaces:
        list_folder(self.root, _LAYOUT, "Give the folder that holds them, e.g. ROOT/300W.")
        subsets = {subset: self._subset(subset) for subset in counts}
        entries = [entry for subset in subsets.values() for entry in subset]
        require_images(self.root, entries, _LAYOUT)
        if self.strict_counts:
            check_counts(self.root, "300W", {subset: len(found) for subset, found in subsets.items()}, counts)
        return FileFaces.from_entries(entries, self.on_error, name)

    def _subset(self, subset: str) -> list[Entry]:
        folder = self.root / subset
        if not folder.exists():
            return []
        images = read_entries(folder, f"300W's {subset}")
        entries = [*labelled(images), *orphans(folder, images)]
        kept = [entry for entry in entries if not entry.path.stem.lower().endswith("_mirror")]
        if len(kept) < len(entries):
            _log.info("%s: ignored %d mirrored copies (*_mirror)", folder, len(entries) - len(kept))
        return [replace(entry, subsets=TEST_GROUPS.get(subset, ())) for entry in kept]
