"""The data of one experiment: source, target and test sets, and their loaders."""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.faces import DataError, Face, FaceBatch, FaceSet, TrainBatch
from datamodules.files import require_labelled
from datamodules.kept import FaceDataset, PlainCrops, Shelf, WholeFaces
from datamodules.loading import Draws, TestSet, evaluation_loader, face_loader, steps_done, training_loader
from datamodules.store import MIB, SharedStore, default_limit
from datamodules.transforms import Augmentation, FaceTransform, crop_shape

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Roles:
    """The faces of one experiment by their roles.

    Attributes:
        source: labelled training faces.
        target: unlabelled training faces, or None.
        tests: labelled test sets.
    """

    source: FaceSet
    target: FaceSet | None = None
    tests: list[TestSet] = field(default_factory=list)


class ExperimentDataModule(LightningDataModule):
    """Source, target and test sets of one experiment, and the loaders that every method uses.

    Training batches are :class:`TrainBatch`, validation and test batches :class:`FaceBatch` with one loader per test
    set. A subclass says in :meth:`read_roles` which faces these are.

    Attributes:
        image_size: side of the crops, in pixels.
        batch_size: pairs per training step and process.
        eval_batch_size: faces per evaluation step.
        steps_per_epoch: training steps of an epoch; None for one pass over the source.
        num_workers: loader processes; 0 loads in the training process.
        cache_mib: memory in which decoded faces are kept from epoch to epoch, over all training processes of this
            machine; None for a quarter of what is available, 0 for none.
        augmentation: of training crops.
        seed: of order and augmentation.
        synthetic: whether any face is drawn; what is measured on such faces is marked as synthetic.
    """

    image_size: int = 256
    batch_size: int = 16
    eval_batch_size: int = 32
    steps_per_epoch: int | None = None
    num_workers: int = 0
    cache_mib: int | None = None
    augmentation: Augmentation = Augmentation()
    seed: int = 0
    synthetic: bool = False
    _roles: Roles | None = None
    _store: SharedStore | None = None
    _evaluation: list[DataLoader[FaceBatch]] | None = None

    @abstractmethod
    def read_roles(self) -> Roles:
        """Read every list and check every file.

        Raises:
            DataError: a file is missing, unreadable or malformed.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read and check all files, before any time is spent on training; a second call does nothing.

        Raises:
            DataError: a file is missing, unreadable or malformed; there is no source face, or an unlabelled one.
        """
        if self._roles is not None:
            return
        roles = self.read_roles()
        if len(roles.source) == 0:
            raise DataError("The setting has no source faces. Give at least one labelled set in `data.source`.")
        require_labelled(roles.source, "source")
        self._roles = roles
        if self.synthetic:
            _log.warning("SYNTHETIC stand-in faces: they show that everything runs; their scores are not results.")
        _log.info("source: %d labelled faces", len(roles.source))
        for test in roles.tests:
            _log.info("test: %s (%d faces)", ", ".join(test.subset_names), len(test.faces))

    def _read(self) -> Roles:
        self.setup()
        assert self._roles is not None
        return self._roles

    @property
    def source_faces(self) -> FaceSet:
        """Labelled training faces."""
        return self._read().source

    @property
    def target_faces(self) -> FaceSet | None:
        """Unlabelled training faces, or None."""
        return self._read().target

    @property
    def test_sets(self) -> list[TestSet]:
        """The test sets, in the order of their loaders."""
        return self._read().tests

    @property
    def data_kind(self) -> Literal["files", "synthetic"]:
        """What the scores of a run were measured on."""
        return "synthetic" if self.synthetic else "files"

    def source_shapes(self) -> Tensor:
        """The source's landmarks in crop coordinates of their plain crops, shape ``(N, 68, 2)``."""
        return torch.from_numpy(np.stack([crop_shape(shape) for shape in self.source_faces.shapes()]))

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Random (source, target) pairs, or what else the method's current epoch draws (:class:`Draws`).

        The k-th batch depends on (seed, k) and on those draws alone.

        Raises:
            DataError: the trainer's method needs a target and there is none, or frontal photos and there are none.
        """
        method = getattr(self.trainer, "lightning_module", None)
        uses_target = getattr(method, "needs_target", True)
        target = self.target_faces if uses_target else None
        if uses_target and method is not None and target is None:
            raise DataError(
                f"The method {type(method).__name__} needs unlabelled target faces and the setting has none. "
                "Give `data.target`, or choose METHOD=supervised."
            )
        rank, world_size = self._rank()
        draws = getattr(method, "draws", Draws)
        frontal = self._frontal() if draws().frontal else []
        return training_loader(
            self._dataset(self.source_faces, 0),
            None if target is None else self._target_dataset(target),
            self.batch_size,
            self.steps_per_epoch or self._steps_of_a_pass(draws(), len(frontal)),
            self.seed,
            self._step,
            rank,
            world_size,
            self.num_workers,
            draws,
            frontal,
        )

    def _frontal(self) -> list[int]:
        if found := self.source_faces.frontal():
            return found
        raise DataError(
            f"none of the {len(self.source_faces)} source photos is frontal, by a list or by its landmarks, and the "
            "method asks for such. Add some, or set model.init_args.warper_frontal=false."
        )

    def _steps_of_a_pass(self, draws: Draws, frontal: int) -> int:
        """Steps until each face was drawn about once; the last ones, too few for a batch, are left out."""
        source = frontal if draws.frontal else len(self.source_faces)
        target = 0 if self.target_faces is None else len(self.target_faces)
        count = source + target if draws.mixed else min(source, target) if draws.shorter else source
        return max(1, count // (self.batch_size * self._rank()[1]))

    def target_batches(self) -> Iterator[list[tuple[int, Face]]]:
        """This process's share of the target faces, uncropped and in order, each with its place in the whole set.

        Raises:
            DataError: there is no target.
        """
        if self.target_faces is None:
            raise DataError("The setting has no target faces. Give `data.target`.")
        rank, world_size = self._rank()
        places = iter(range(rank, len(self.target_faces), world_size))
        whole = WholeFaces(self._target_dataset(self.target_faces))
        for faces in face_loader(whole, self.eval_batch_size, self.num_workers, rank, world_size):
            yield [(next(places), face) for face in faces]

    def val_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """One loader per test set, made once: every validation epoch scores them."""
        if self._evaluation is None:
            first, self._evaluation = self._first_tested(), []
            for test in self.test_sets:
                crops = PlainCrops(test.faces, self.image_size, self._shelf(first))
                self._evaluation.append(evaluation_loader(crops, self.eval_batch_size, self.num_workers, *self._rank()))
                first += len(test.faces)
        return self._evaluation

    def test_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """One loader per test set."""
        return self.val_dataloader()

    # The store's slots: source, target, test sets.

    def _dataset(self, faces: FaceSet, first: int, moving: bool = False) -> FaceDataset:
        transform = FaceTransform(self.image_size, self.augmentation)
        return FaceDataset(faces, transform, self._shelf(first), moving)

    def _target_dataset(self, target: FaceSet) -> FaceDataset:
        return self._dataset(target, len(self.source_faces), moving=True)

    def _first_tested(self) -> int:
        return len(self.source_faces) + len(self.target_faces or ())

    def _shelf(self, first: int) -> Shelf | None:
        """A part of the one store; it is made with the first loader, before any process is forked."""
        if self.cache_mib == 0:
            return None
        if self._store is None:
            limit = default_limit() if self.cache_mib is None else self.cache_mib * MIB
            nodes = max(1, self.trainer.num_nodes) if self.trainer else 1
            slots = self._first_tested() + sum(len(test.faces) for test in self.test_sets)
            self._store = SharedStore(slots, limit // max(1, self._rank()[1] // nodes), max(1, self.num_workers))
        return Shelf(self._store, first)

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _step(self) -> int:
        return steps_done(self.trainer) if self.trainer else 0
