"""The base of every data set's data module."""

import logging
from abc import abstractmethod
from collections.abc import Sequence

from datamodules.experiment import ExperimentDataModule, Roles
from datamodules.faces import DataError, FaceSet
from datamodules.files import OnError
from datamodules.loading import TestSet

_log = logging.getLogger(__name__)


class FaceDataModule(ExperimentDataModule):
    """One data set: its training faces and its test faces.

    A subclass needs two methods, :meth:`train_faces` and :meth:`test_faces`; it can then be the source, the target or
    a test set of any setting. Both return labelled faces where labels exist: the setting hides those of a target.

    Under a trainer by itself, without a setting, its training faces are the source and its test faces are tested.

    Attributes:
        on_error: what an unreadable file does. A setting overwrites it with its own ``on_error``.
        strict_counts: whether other numbers of images than the published ones are refused, for a data set that has
            such. A setting's own ``strict_counts``, if given, overwrites it.
    """

    on_error: OnError = "raise"
    strict_counts: bool = True

    @abstractmethod
    def train_faces(self) -> FaceSet:
        """The training split.

        Raises:
            DataError: files are missing or malformed.
        """

    @abstractmethod
    def test_faces(self) -> FaceSet:
        """The test split, each face with the names of the subsets it counts in.

        Raises:
            DataError: files are missing or malformed.
        """

    @property
    def has_test(self) -> bool:
        """Whether there are labelled test faces; a setting leaves out the subsets of a set without."""
        return True

    def stand_in(self, seed: int) -> "FaceDataModule":
        """Drawn faces in the place of the files (``DATA=synthetic``), in the same subsets.

        Raises:
            DataError: the data set has no stand-in.
        """
        raise DataError(
            f"{type(self).__name__} has no stand-in faces. Give its files with DATA=ROOT, or add a `stand_in` method."
        )

    def read_roles(self) -> Roles:
        """The training faces as source, the test faces as the only test set, and no target."""
        return Roles(self.train_faces(), tests=read_tests([self]))


def read_tests(modules: Sequence[FaceDataModule]) -> list[TestSet]:
    """The test sets of those data sets that have labelled test faces; the others are named in the log."""
    tests = []
    for module in modules:
        if module.has_test:
            faces = module.test_faces()
            tests.append(TestSet(faces, faces.subsets()))
        else:
            _log.warning("%s has no labelled faces to score: its subsets are left out", type(module).__name__)
    return tests
