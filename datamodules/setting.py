"""A setting: which data is source, target and tested (the paper's Table 1), composed from any data modules."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.base import FaceDataModule, OnError
from datamodules.faces import DataError, FaceBatch, FaceSet, JoinedFaces, TrainBatch, UnlabelledFaces
from datamodules.files import require_labelled
from datamodules.loading import FaceDataset, PairBatchSampler, PairDataset, collate_pairs, evaluation_loader
from datamodules.transforms import Augmentation, FaceTransform, crop_shape

log = logging.getLogger(__name__)

SYNTHETIC = "synthetic"


@dataclass
class TestSet:
    """One labelled test set. ``subsets[i]`` names the subsets (e.g. ``300w_full``) that face i counts in."""

    faces: FaceSet
    subsets: list[tuple[str, ...]]

    @property
    def subset_names(self) -> list[str]:
        """The subsets' names, in order of first appearance."""
        return list(dict.fromkeys(name for subsets in self.subsets for name in subsets))


class SettingDataModule(LightningDataModule):
    """Source, target and test sets of one experiment, and the loaders of every method.

    Training batches are :class:`TrainBatch`; validation and test batches :class:`FaceBatch`, one loader a test set.

    Args:
        source: labelled training sets (joined).
        target: training sets of stylised faces (joined), whose landmarks are hidden from training.
        tests: sets to test on.
        root: ``synthetic`` replaces every set by its stand-in; otherwise it is not used here (the sets' own paths are
            built from it in YAML).
        oracle_box: crop target training images with their annotated box (the paper's protocol). Without it they have
            the box given or detected, or the whole image.
        image_size: side of the crops, in pixels (linked to the landmarker's by the command line).
        batch_size: pairs of a training step and process.
        eval_batch_size: faces of an evaluation step.
        steps_per_epoch: training steps of an epoch; by default one pass over the source.
        num_workers: loader processes; 0 loads in the training process.
        augmentation: of training crops.
        on_error: what an unreadable image or label does: ``raise`` names it, ``skip`` goes on without and counts.
        seed: of order and augmentation (linked to ``seed_everything`` by the command line).
    """

    def __init__(
        self,
        source: Sequence[FaceDataModule],
        target: Sequence[FaceDataModule] = (),
        tests: Sequence[FaceDataModule] = (),
        root: str = SYNTHETIC,
        oracle_box: bool = False,
        image_size: int = 256,
        batch_size: int = 16,
        eval_batch_size: int = 32,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        on_error: OnError = "raise",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._stand_ins = root == SYNTHETIC
        self.oracle_box = oracle_box
        self.image_size, self.batch_size, self.eval_batch_size = image_size, batch_size, eval_batch_size
        self.steps_per_epoch, self.num_workers = steps_per_epoch, num_workers
        self.augmentation, self.seed = augmentation, seed
        self._members = {"source": list(source), "target": list(target), "tests": list(tests)}
        for module in (m for members in self._members.values() for m in members):
            module.on_error = on_error
        self._source: FaceSet | None = None
        self._target: FaceSet | None = None
        self._tests: list[TestSet] = []

    @property
    def synthetic(self) -> bool:
        """Whether any of its faces are drawn."""
        modules = (module for members in self._members.values() for module in members)
        return self._stand_ins or any(module.synthetic for module in modules)

    @property
    def data_kind(self) -> Literal["files", "synthetic"]:
        """What the numbers of a run were measured on."""
        return "synthetic" if self.synthetic else "files"

    @property
    def source_faces(self) -> FaceSet:
        """Labelled training faces."""
        self.setup()
        assert self._source is not None
        return self._source

    @property
    def target_faces(self) -> FaceSet | None:
        """Unlabelled training faces, or None."""
        self.setup()
        return self._target

    @property
    def test_sets(self) -> list[TestSet]:
        """The sets that are tested, one loader each."""
        self.setup()
        return self._tests

    def setup(self, stage: str | None = None) -> None:
        """Read every list and check every file, before any training time is spent (idempotent).

        Raises:
            DataError: a file is missing, unreadable or malformed, or a source has unlabelled images.
        """
        if self._source is not None:
            return
        members = {
            role: [m.stand_in(seed=0) if self._stand_ins else m for m in modules]
            for role, modules in self._members.items()
        }
        source = JoinedFaces([m.train_faces() for m in members["source"]])
        if len(source) == 0:
            raise DataError("The setting has no source faces. Give at least one labelled set in `data.source`.")
        require_labelled(source, "source")
        if targets := [m.train_faces() for m in members["target"]]:
            self._target = UnlabelledFaces(JoinedFaces(targets), self.oracle_box)
        self._tests = [TestSet(faces, faces.subsets()) for m in members["tests"] if len(faces := _test_faces(m))]
        self._source = source
        self._announce()

    def _announce(self) -> None:
        if self.synthetic:
            log.warning("SYNTHETIC stand-in faces: they show that everything runs; their scores are not results.")
        log.info("source: %d labelled faces", len(self.source_faces))
        if self._target is not None:
            protocol = (
                "annotated box (oracle_box: true, the paper's protocol)"
                if self.oracle_box
                else "given or detected box, else the whole image (oracle_box: false: labels stay unused)"
            )
            log.info("target: %d faces, labels hidden; crops from the %s", len(self._target), protocol)
        for test in self._tests:
            log.info("test: %s (%d faces)", ", ".join(test.subset_names), len(test.faces))

    def source_shapes(self) -> Tensor:
        """Labelled source landmarks in crop coordinates of the plain crop, shape ``(N, 68, 2)``."""
        return torch.from_numpy(np.stack([crop_shape(shape) for shape in self.source_faces.shapes()]))

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Random (source, target) pairs: the k-th batch depends only on (seed, k)."""
        rank, world_size = self._rank()
        transform = FaceTransform(self.image_size, self.augmentation)
        uses_target = getattr(self._method(), "needs_target", True)
        target = self.target_faces if uses_target else None
        if uses_target and self._method() is not None and target is None:
            raise DataError(
                f"The method {type(self._method()).__name__} needs unlabelled target faces and the setting has none. "
                "Give `data.target`, or choose METHOD=supervised."
            )
        steps = self.steps_per_epoch or max(1, len(self.source_faces) // (self.batch_size * world_size))
        sampler = PairBatchSampler(
            len(self.source_faces),
            1 if target is None else len(target),
            self.batch_size,
            steps,
            self.seed,
            self._position,
            rank,
            world_size,
        )
        return DataLoader(
            PairDataset(
                FaceDataset(self.source_faces, transform), None if target is None else FaceDataset(target, transform)
            ),
            batch_sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate_pairs,
            generator=torch.Generator().manual_seed(self.seed),
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def target_loader(self) -> DataLoader[FaceBatch]:
        """This process's share of the target faces, plain crops, in order (for pseudo landmarks)."""
        if self.target_faces is None:
            raise DataError("The setting has no target faces. Give `data.target`.")
        return self._evaluation_loader(self.target_faces)

    def val_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """One loader a test set: every validation epoch scores them."""
        return [self._evaluation_loader(test.faces) for test in self.test_sets]

    def test_dataloader(self) -> list[DataLoader[FaceBatch]]:
        """One loader a test set."""
        return self.val_dataloader()

    def _evaluation_loader(self, faces: FaceSet) -> DataLoader[FaceBatch]:
        return evaluation_loader(faces, self.image_size, self.eval_batch_size, self.num_workers, *self._rank())

    def _method(self) -> object | None:
        return getattr(self.trainer, "lightning_module", None) if self.trainer else None

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _position(self) -> int:
        return steps_done(self.trainer) if self.trainer else 0


def _test_faces(module: FaceDataModule) -> FaceSet:
    """The module's test faces; none where it says that it has none to offer."""
    if not module.has_test:
        log.warning("%s has no labelled faces to score: its subsets are left out", type(module).__name__)
        return JoinedFaces([])
    return module.test_faces()


def steps_done(trainer: Trainer) -> int:
    """How many training batches a run has finished, including those before it was resumed (DESIGN §6)."""
    progress = cast(Any, trainer.fit_loop.epoch_loop.batch_progress)
    return int(progress.total.processed)
