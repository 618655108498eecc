"""CariFace: caricatures with 68 landmarks (Zhang et al., 2020)."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from datamodules.base import FaceDataModule
from datamodules.files import FileFaces, OnError
from datamodules.layout import (
    Entry,
    check_counts,
    check_disjoint,
    expect_landmarks,
    read_entries,
    read_lists,
    require_images,
    require_split,
    without,
)
from datamodules.synthetic.dataset import SyntheticDataModule

_log = logging.getLogger(__name__)

TOTAL, TEST, PAPER_TRAIN = 7800, 800, 3372
_LAYOUT: Final = "the CariFace folder with images/ and landmarks/"


class CariFaceDataModule(FaceDataModule):
    """CariFace as distributed: ``images/NAME.jpg`` and ``landmarks/NAME.jpg.npy``.

    ``train_list.txt`` and ``test_list.txt`` in ``root``, with one image name per line, say which images are in which
    split. Without a test list, the last 800 of the sorted names are the test set, as published; without a training
    list, all the others (7,000) are for training. The paper trains on 3,372 of those 7,000 and does not say which: to
    train on a selection of your own, write ``train_list.txt``.

    Training images need no landmarks (those of a target are not used); test images do.

    Args:
        root: the folder that holds ``images`` and ``landmarks``.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        strict_counts: refuse other numbers than the published ones: 800 test images and, without a training list,
            7,000 others. A training list may name any number.
    """

    def __init__(self, root: str, on_error: OnError = "raise", strict_counts: bool = True) -> None:
        super().__init__()
        self.root, self.on_error, self.strict_counts = Path(root).expanduser(), on_error, strict_counts

    def train_faces(self) -> FileFaces:
        """The training split; labelled where landmarks are there.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        train, _ = self._split()
        require_split(self.root, "training", train)
        return FileFaces(train, self.on_error, "CariFace train")

    def test_faces(self) -> FileFaces:
        """The test split, all of it labelled, in the subset ``cariface``.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        _, test = self._split()
        entries = [replace(entry, subsets=("cariface",)) for entry in expect_landmarks(test)]
        return FileFaces(entries, self.on_error, "CariFace test")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn caricatures in the same subset."""
        return SyntheticDataModule("caricature", name="cariface", seed=seed)

    def _split(self) -> tuple[list[Entry], list[Entry]]:
        entries = read_entries(self.root, _LAYOUT)
        require_images(self.root, entries, _LAYOUT)
        train, test = read_lists(self.root, entries)
        listed = train is not None
        test = entries[-TEST:] if test is None else test
        train = without(entries, test) if train is None else train
        check_disjoint(self.root, train, test)
        if self.strict_counts:
            expected = {"test": TEST} if listed else {"train": TOTAL - TEST, "test": TEST}
            check_counts(self.root, "CariFace", {"train": len(train), "test": len(test)}, expected)
        if len(train) != PAPER_TRAIN:
            message = "%s: %d training images; the paper has %d and does not list them"
            _log.info(message, self.root, len(train), PAPER_TRAIN)
        return train, test
