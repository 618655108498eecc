"""Face sets to loaders. A training batch depends on (seed, step) alone, so that a resumed run goes on exactly."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.faces import FaceBatch, FaceSample, FaceSet, TrainBatch, collate
from datamodules.transforms import CROP_FACTOR, FaceTransform

Draw = tuple[int, int]
"""(index in the face set, seed of the augmentation)."""


@dataclass
class TestSet:
    """One labelled test set. ``subsets[i]`` names the subsets (e.g. ``300w_full``) that face i counts in."""

    faces: FaceSet
    subsets: list[tuple[str, ...]]

    @property
    def subset_names(self) -> list[str]:
        """The subsets' names, in order of first appearance."""
        return list(dict.fromkeys(name for subsets in self.subsets for name in subsets))


class FaceDataset(Dataset[Any]):
    """A face set seen through a transform, indexed by a :data:`Draw`, or by an int where nothing is augmented."""

    def __init__(self, faces: FaceSet, transform: FaceTransform) -> None:
        self.faces, self.transform = faces, transform

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: int | Draw) -> FaceSample:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        return self.transform(self.faces[index], index, seed)


class PairDataset(Dataset[Any]):
    """Source faces, each with a target face drawn independently of it, or with None where there is no target."""

    def __init__(self, source: FaceDataset, target: FaceDataset | None) -> None:
        self.source, self.target = source, target

    def __getitem__(self, key: tuple[Draw, Draw]) -> tuple[FaceSample, FaceSample | None]:
        return self.source[key[0]], None if self.target is None else self.target[key[1]]


def collate_pairs(pairs: list[tuple[FaceSample, FaceSample | None]]) -> TrainBatch:
    """Stack (source, target) samples; the batch has no target if the samples have none."""
    targets = [target for _, target in pairs if target is not None]
    return TrainBatch(collate([source for source, _ in pairs]), collate(targets) if targets else None)


@dataclass(frozen=True)
class FaceStream:
    """An endless shuffle of ``count`` faces without state: draw p is a function of (seed, stream, p).

    Draws ``k * count`` to ``(k + 1) * count - 1`` visit each face once.
    """

    count: int
    seed: int
    stream: int

    def draws(self, start: int, number: int) -> list[Draw]:
        """Draws ``start`` to ``start + number - 1``."""
        positions = range(start, start + number)
        orders = {e: self._order(e) for e in {p // self.count for p in positions}}
        return [(int(orders[p // self.count][p % self.count]), self._augmentation_seed(p)) for p in positions]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, self.stream, 0, epoch]).permutation(self.count)

    def _augmentation_seed(self, position: int) -> int:
        # albumentations takes seeds below 2³².
        return int(np.random.SeedSequence([self.seed, self.stream, 1, position]).generate_state(1)[0])


class PairBatchSampler(Sampler[list[tuple[Draw, Draw]]]):
    """Batches of (source draw, target draw); the k-th batch of a run depends on (seed, k) alone.

    Args:
        source_count: number of source faces.
        target_count: number of target faces (1 where there is no target).
        batch_size: pairs per process and step.
        steps_per_epoch: batches of an epoch. Epochs end at multiples of it, counted over the whole run: a run resumed
            within an epoch first completes that epoch.
        seed: of the order and of the augmentation.
        position: returns the step of the run at which an iteration starts.
        rank: this process.
        world_size: number of processes, among which each step's pairs are split evenly.
    """

    def __init__(
        self,
        source_count: int,
        target_count: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int = 0,
        position: Callable[[], int] = int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.streams = FaceStream(source_count, seed, 0), FaceStream(target_count, seed, 1)
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.position, self.rank, self.world_size = position, rank, world_size

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[list[tuple[Draw, Draw]]]:
        first = self.position()
        end = (first // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(first, end):
            start = (step * self.world_size + self.rank) * self.batch_size
            source, target = (stream.draws(start, self.batch_size) for stream in self.streams)
            yield list(zip(source, target, strict=True))


def training_loader(
    source: FaceSet,
    target: FaceSet | None,
    transform: FaceTransform,
    batch_size: int,
    steps_per_epoch: int,
    seed: int = 0,
    position: Callable[[], int] = int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
) -> DataLoader[TrainBatch]:
    """A loader of random (source, target) pairs, both under ``transform``; see :class:`PairBatchSampler`."""
    target_count = 1 if target is None else len(target)
    return DataLoader(
        PairDataset(FaceDataset(source, transform), None if target is None else FaceDataset(target, transform)),
        batch_sampler=PairBatchSampler(
            len(source), target_count, batch_size, steps_per_epoch, seed, position, rank, world_size
        ),
        num_workers=num_workers,
        collate_fn=collate_pairs,
        # Without its own generator, an iteration would draw a number from torch's global one.
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(
    faces: FaceSet,
    size: int,
    batch_size: int,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    crop_factor: float = CROP_FACTOR,
) -> DataLoader[FaceBatch]:
    """A loader of plain crops of ``size`` pixels, in order: every ``world_size``-th face, from face ``rank`` on.

    Each face is loaded by exactly one process; none is repeated to fill up a share.
    """
    return DataLoader(
        FaceDataset(faces, FaceTransform(size, crop_factor=crop_factor)),
        batch_size=batch_size,
        sampler=range(rank, len(faces), world_size),
        num_workers=num_workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(0),
    )


def steps_done(trainer: Trainer) -> int:
    """Number of training batches a run has finished, including those before it was resumed."""
    # Not `global_step`, which counts the steps of every optimizer.
    progress = cast(Any, trainer.fit_loop.epoch_loop.batch_progress)
    return int(progress.total.processed)
