"""The base of every data set's ``LightningDataModule``."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.faces import DataError, FaceBatch, FaceSet, TrainBatch

if TYPE_CHECKING:
    from datamodules.setting import SettingDataModule, TestSet

OnError = Literal["raise", "skip"]


class FaceDataModule(LightningDataModule):
    """One data set: its training faces and its test faces.

    A subclass needs two methods, :meth:`train_faces` and :meth:`test_faces`; it can then be the source, the target or
    a test set of any setting. Both return labelled faces where labels exist: hiding a target's is not its business
    (:class:`datamodules.faces.UnlabelledFaces`).

    By itself, under ``Trainer.fit`` with a supervised method, it is the setting whose source and test set it is.

    Attributes:
        image_size: side of the crops in pixels, when used by itself.
        batch_size: faces of a training step, when used by itself.
        num_workers: loader processes, when used by itself.
    """

    synthetic = False
    """Whether its faces are drawn: what is measured on them is marked so everywhere."""
    image_size = 256
    batch_size = 16
    num_workers = 0
    _alone: "SettingDataModule | None" = None

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
        """The test split, each face with the names of the subsets it counts in (``subsets``).

        Raises:
            DataError: files are missing or malformed.
        """

    @property
    def has_test(self) -> bool:
        """Whether there are labelled test faces; false lets a setting go on without this set's subsets."""
        return True

    def stand_in(self, seed: int) -> "FaceDataModule":
        """Drawn faces to run with instead of the files (``DATA=synthetic``), under the same subsets' names.

        Raises:
            DataError: the data set has no stand-in.
        """
        raise DataError(
            f"{type(self).__name__} has no stand-in faces. Give its files with DATA=ROOT, or add a `stand_in` method."
        )

    def setup(self, stage: str | None = None) -> None:
        """Read and check every file (when used by itself).

        Raises:
            DataError: a file is missing, unreadable or malformed.
        """
        # Here, not above: a setting is composed of data modules.
        from datamodules.setting import SettingDataModule

        if self._alone is None:
            self._alone = SettingDataModule(
                [self],
                tests=[self],
                root="files",
                image_size=self.image_size,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                on_error=self.on_error,
            )
        self._alone.trainer = self.trainer
        self._alone.setup(stage)

    def _setting(self) -> "SettingDataModule":
        self.setup()
        assert self._alone is not None
        return self._alone

    @property
    def test_sets(self) -> "list[TestSet]":
        """What validation and test score."""
        return self._setting().test_sets

    def source_shapes(self) -> Tensor:
        """Training landmarks in crop coordinates of the plain crop, shape ``(N, 68, 2)``."""
        return self._setting().source_shapes()

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Augmented training faces (``TrainBatch`` without target)."""
        return self._setting().train_dataloader()

    def val_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """The test faces, plain crops."""
        return self._setting().val_dataloader()

    def test_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """The test faces, plain crops."""
        return self._setting().test_dataloader()
