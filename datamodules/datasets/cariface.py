"""CariFace: caricatures with 68 landmarks (Zhang et al., 2020)."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from datamodules.base import FaceDataModule, OnError
from datamodules.files import FileFaces
from datamodules.layout import (
    Entry,
    check_counts,
    check_disjoint,
    labelled,
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

    ``train_list.txt`` and ``test_list.txt`` in ``root``, with one image name a line, say which images are in which
    split. Without a test list, the last 800 of the sorted names are the test set, as published; without a training
    list, all the others (7,000) are for training. The paper trains on 3,372 of those 7,000, and which ones is not
    published: to train on a choice of your own, write ``train_list.txt``.

    Training images need no landmarks (as a target they are never looked at); test images do.

    Args:
        root: the folder that holds ``images`` and ``landmarks``.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        strict_counts: refuse other numbers than the published ones: 800 test images, and, without a training list,
            7,000 others. How many a training list names is its own affair.
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
        return FileFaces.from_entries(train, self.on_error, "CariFace train")

    def test_faces(self) -> FileFaces:
        """The test split, all of it labelled, in the subset ``cariface``.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        _, test = self._split()
        entries = [replace(entry, subsets=("cariface",)) for entry in labelled(test)]
        return FileFaces.from_entries(entries, self.on_error, "CariFace test")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn caricatures under the subset's name."""
        return SyntheticDataModule("caricature", name="cariface", seed=seed, subsets={"cariface": (0.0, 1.0)})

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
            _log.info("%s: %d training images; the paper's %d are not published", self.root, len(train), PAPER_TRAIN)
        return train, test
