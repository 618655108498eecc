"""ArtiFace: painted faces of 16 artists with 68 landmarks (Yaniv et al., "The Face of Art", 2019)."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from datamodules.base import FaceDataModule
from datamodules.files import FileFaces, OnError
from datamodules.layout import (
    Entry,
    check_counts,
    expect_landmarks,
    read_entries,
    require_images,
    require_split,
    split_by_lists,
)
from datamodules.synthetic.dataset import SyntheticDataModule

_log = logging.getLogger(__name__)

TOTAL, TEST = 160, 32
_LAYOUT: Final = "the ArtiFace folder with images/ and the landmarks in landmarks/ or beside the images"


class ArtiFaceDataModule(FaceDataModule):
    """ArtiFace: ``images/N.png`` with ``N.png.npy`` (the paper's authors' conversion) or ``N.pts`` (as distributed).

    ``train_list.txt`` and ``test_list.txt`` in ``root``, with one image name per line, say which 128 images are for
    training and which 32 for testing. Without them the images are taken in the order of their numbers, the last 32
    for testing, with a warning that this is not the published split. Optional ``boxes.csv`` (header
    ``name,x0,y0,x1,y1``) gives face boxes.

    Args:
        root: the folder that holds ``images``.
        on_error: ``raise`` an error about the first bad file, or ``skip`` bad files and log how many there were.
        strict_counts: refuse other numbers than 128 and 32, or 160 with ``test="all"``.
        test: ``listed`` for the 32 test images, or ``all`` for all 160 (the setting ``gzsl_artiface``, which trains on
            none of them).
    """

    def __init__(
        self,
        root: str,
        on_error: OnError = "raise",
        strict_counts: bool = True,
        test: Literal["listed", "all"] = "listed",
    ) -> None:
        super().__init__()
        self.root, self.on_error, self.strict_counts = Path(root).expanduser(), on_error, strict_counts
        self.test = test

    def train_faces(self) -> FileFaces:
        """The 128 training images; labelled where landmarks are there.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        if self.test == "all":
            _log.warning("%s: training on images of the test set, because test is 'all'", self.root)
        train, _ = self._split()
        require_split(self.root, "training", train)
        return FileFaces(train, self.on_error, "ArtiFace train")

    def test_faces(self) -> FileFaces:
        """The test images, all labelled, in the subset ``artiface``: 32, or all 160.

        Raises:
            DataError: files are missing or malformed, or the counts differ.
        """
        if self.test == "all":
            test = self._entries()
            if self.strict_counts:
                check_counts(self.root, "ArtiFace", {"images": len(test)}, {"images": TOTAL})
        else:
            _, test = self._split()
        entries = [replace(entry, subsets=("artiface",)) for entry in expect_landmarks(test)]
        return FileFaces(entries, self.on_error, "ArtiFace test")

    def stand_in(self, seed: int) -> SyntheticDataModule:
        """Drawn paintings in the same subset."""
        return SyntheticDataModule("painting", name="artiface", seed=seed)

    def _entries(self) -> list[Entry]:
        entries = sorted(read_entries(self.root, _LAYOUT), key=_number)
        require_images(self.root, entries, _LAYOUT)
        return entries

    def _split(self) -> tuple[list[Entry], list[Entry]]:
        entries = self._entries()
        train, test = split_by_lists(self.root, entries)
        if test is None:
            message = "%s: without train_list.txt and test_list.txt the last %d images by number are the test set; "
            _log.warning(message + "this is not the published split", self.root, TEST)
            train, test = entries[:-TEST], entries[-TEST:]
        if self.strict_counts:
            found, expected = {"train": len(train), "test": len(test)}, {"train": TOTAL - TEST, "test": TEST}
            check_counts(self.root, "ArtiFace", found, expected)
        return train, test


def _number(entry: Entry) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", entry.path.stem)], entry.path.name
