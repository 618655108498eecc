"""The base of every data set's ``LightningDataModule``."""

from abc import abstractmethod
from typing import Literal

from lightning import LightningDataModule

from datamodules.faces import DataError, FaceSet

OnError = Literal["raise", "skip"]


class FaceDataModule(LightningDataModule):
    """One data set: its training faces and its test faces.

    A subclass needs two methods, :meth:`train_faces` and :meth:`test_faces`; it can then be the source, the target or
    a test set of any setting. Both return labelled faces where labels exist: hiding a target's is not its business
    (:class:`datamodules.faces.UnlabelledFaces`).
    """

    on_error: OnError = "raise"
    """What to do about an unreadable image: ``raise`` an error that names it, or ``skip`` it and log how many were."""

    @abstractmethod
    def train_faces(self) -> FaceSet:
        """The training split.

        Raises:
            DataError: files are missing or malformed.
        """

    @abstractmethod
    def test_faces(self) -> FaceSet:
        """The test split, each face with the names of the figures it counts in (``groups``).

        Raises:
            DataError: files are missing or malformed.
        """

    def stand_in(self, seed: int) -> "FaceDataModule":
        """Drawn faces to run with instead of the files (``DATA=synthetic``), under the same figures' names.

        Raises:
            DataError: the data set has no stand-in.
        """
        raise DataError(
            f"{type(self).__name__} has no stand-in faces. Give its files with DATA=ROOT, or add a `stand_in` method."
        )
