"""A setting: which data sets are source, target and tested (the paper's Table 1)."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.base import FaceDataModule, read_tests
from datamodules.experiment import ExperimentDataModule, Roles
from datamodules.face_sets import BoxedFaces, JoinedFaces, SomeFaces, UnlabelledFaces
from datamodules.faces import DataError, FaceSet, FloatArray, TrainBatch
from datamodules.files import OnError
from datamodules.loading import TestSet, chosen_workers
from datamodules.ranges import at_least
from datamodules.transforms import Augmentation

_log = logging.getLogger(__name__)

SYNTHETIC = "synthetic"

TargetBox = Literal["given", "detected"]
"""Where the crops of target images come from."""


class SettingDataModule(ExperimentDataModule):
    """The data of one experiment, composed from any data sets.

    Args:
        source: labelled training sets (joined).
        target: training sets of stylised faces (joined), whose landmarks are hidden from training.
        tests: sets to test on.
        root: ``synthetic`` replaces every set by its stand-in; another value has no effect here (YAML builds the sets'
            own paths from it).
        oracle_box: crop target training images to their annotated box (the paper's protocol). Otherwise their crop is
            the given or detected box, or the whole image.
        target_box: ``given``: a target image's box in boxes.csv; ``detected``: the box that a face detector finds.
            Where there is none, the whole image. Not used with ``oracle_box``.
        image_size: side of the crops, in pixels (linked to the landmarker's by the command line).
        batch_size: pairs per training step and process.
        eval_batch_size: faces per evaluation step.
        steps_per_epoch: training steps of an epoch; by default one pass over the source.
        num_workers: loader processes; 0 loads in the training process, ``auto`` chooses by this machine's cores (see
            :func:`~datamodules.loading.workers_of_machine`).
        cache_mib: memory, in MiB, in which decoded, shrunk faces are kept from epoch to epoch; by default a quarter of
            what is available, at most 16 GiB. 0 keeps none. Faces beyond it are decoded anew.
        augmentation: of training crops.
        on_error: what an unreadable image or landmark file does, in every set: ``raise`` an error that names it, or
            ``skip`` it and log how many there were.
        strict_counts: whether every set refuses other numbers of images than the published ones; None leaves each
            set's own choice.
        limit: use at most so many faces of each set, spread evenly over it, for trying things out; None uses all.
        seed: of order and augmentation (linked to ``seed_everything`` by the command line).

    Attributes:
        detect: finds the boxes of a face set, None for a face without; the command line gives it a detector, which this
            room knows nothing of.
        detected: the target with the boxes found, once it was read with ``target_box=detected``; else None.
    """

    detect: Callable[[FaceSet], Sequence[FloatArray | None]] | None = None
    detected: BoxedFaces | None = None

    def __init__(
        self,
        source: Sequence[FaceDataModule],
        target: Sequence[FaceDataModule] = (),
        tests: Sequence[FaceDataModule] = (),
        root: str = SYNTHETIC,
        oracle_box: bool = False,
        target_box: TargetBox = "given",
        image_size: int = 256,
        batch_size: int = 16,
        eval_batch_size: int = 32,
        steps_per_epoch: int | None = None,
        num_workers: int | Literal["auto"] = 0,
        cache_mib: int | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        on_error: OnError = "raise",
        strict_counts: bool | None = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size, steps_per_epoch=steps_per_epoch)
        at_least(8, image_size=image_size)
        at_least(0, num_workers=None if num_workers == "auto" else num_workers, seed=seed, cache_mib=cache_mib)
        at_least(1, limit=limit)
        if oracle_box and target_box == "detected":
            raise ValueError("oracle_box is true and target_box is detected; expected one of them. Leave one out.")
        self.target_box, self.cache_mib = target_box, cache_mib
        self.image_size, self.batch_size, self.eval_batch_size = image_size, batch_size, eval_batch_size
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = chosen_workers() if num_workers == "auto" else num_workers
        self.augmentation, self.seed, self.oracle_box = augmentation, seed, oracle_box
        self.limit = limit
        self._source, self._target, self._tests = list(source), list(target), list(tests)
        self._stand_ins = root == SYNTHETIC
        data_sets = [*source, *target, *tests]
        self.synthetic = self._stand_ins or any(data_set.synthetic for data_set in data_sets)
        for data_set in data_sets:
            data_set.on_error = on_error
            if strict_counts is not None:
                data_set.strict_counts = strict_counts

    def read_roles(self) -> Roles:
        """The sets' faces joined, or their stand-ins'; the target's landmarks are hidden."""
        source, target, tests = (
            [data_set.stand_in(seed=0) if self._stand_ins else data_set for data_set in data_sets]
            for data_sets in (self._source, self._target, self._tests)
        )
        joined = JoinedFaces([self._some(data_set.train_faces()) for data_set in source])
        hidden = self._hidden([self._some(data_set.train_faces()) for data_set in target]) if target else None
        tested = [self._some(test.faces) for test in read_tests(tests)]
        return Roles(joined, hidden, [TestSet(faces, faces.subsets()) for faces in tested])

    def _some(self, faces: FaceSet) -> FaceSet:
        return faces if self.limit is None else SomeFaces(faces, self.limit)

    def _hidden(self, target: list[FaceSet]) -> UnlabelledFaces:
        joined: FaceSet = JoinedFaces(target)
        if self.target_box == "detected":
            joined = self.detected = self._boxed(joined)
        hidden = UnlabelledFaces(joined, self.oracle_box)
        _log.info("target: %d faces, labels hidden; crops from the %s", len(hidden), self._protocol())
        return hidden

    def _boxed(self, target: FaceSet) -> BoxedFaces:
        if self.detect is None:
            raise DataError(
                "data.target_box: found detected, and no detector; expected one. Train by a command (make train, "
                "python -m experiments fit), or set `detect` of the data module."
            )
        return BoxedFaces(target, self.detect(target))

    def _protocol(self) -> str:
        if self.oracle_box:
            return "annotated box (oracle_box: true, the paper's protocol)"
        if self.detected is not None:
            without = self.detected.lacking
            return f"detected box, the whole image for {without} of {len(self.detected)} in which no face was found"
        return "given box, else the whole image (oracle_box: false: labels stay unused)"


class UnpairedImages(LightningDataModule):
    """A setting's training batches for a translator between photos and stylised faces.

    Faces are mirrored, rotated, scaled and shifted as the setting says, but colours are not changed and nothing is
    covered or blurred: a translator would learn to do the same. There are no test sets.

    Args:
        data: the setting; not changed.
        batch_size: photos, and stylised faces, per step and process.
        steps_per_epoch: training steps of an epoch; by default one pass over the source.
    """

    def __init__(self, data: SettingDataModule, batch_size: int = 1, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        self.data = copy.copy(data)
        self.data.batch_size, self.data.steps_per_epoch = batch_size, steps_per_epoch
        self.data.augmentation = replace(data.augmentation, occlusion=0.0, colour=0.0, grey=0.0, blur=0.0)

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Random batches of both; the k-th depends on (seed, k) alone."""
        self.data.trainer = self.trainer
        return self.data.train_dataloader()
