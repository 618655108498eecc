"""Face sets to loaders. A training batch depends on (seed, step) alone, so that a resumed run goes on exactly."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.face_sets import ChosenFaces
from datamodules.faces import Face, FaceBatch, FaceSample, FaceSet, FloatArray, TrainBatch, collate
from datamodules.ibug68 import NUM_LANDMARKS
from datamodules.kept import Cut, FaceDataset, PlainCrops, WholeFaces

Draw = tuple[int, int]
"""(index in the face set, seed of the augmentation)."""


Pair = tuple[Cut | None, Cut | None]
"""(source, target): both, or one of them where the batch is drawn from one set of both."""


@dataclass(frozen=True)
class Draws:
    """What the training batches of an epoch are drawn from, and how their faces are cropped.

    Attributes:
        plain: crops are not augmented.
        frontal: of the source, only frontal photos are drawn.
        mixed: a batch has ``batch_size`` faces, source and target shuffled as one set; by default it has as many of
            either, drawn independently. Only its photos or only its target faces may then be there.
        shorter: an epoch is one pass over the smaller of both sets, by default over the source.
        boxes: crop target faces to these boxes, image pixels, shape ``(N, 4)``, where they are finite and not empty;
            None, or such a row, for a face's own.
    """

    plain: bool = False
    frontal: bool = False
    mixed: bool = False
    shorter: bool = False
    boxes: FloatArray | None = None


@dataclass
class TestSet:
    """One labelled test set. ``subsets[i]`` names the subsets (e.g. ``300w_full``) that face i counts in."""

    faces: FaceSet
    subsets: list[tuple[str, ...]]

    @property
    def subset_names(self) -> list[str]:
        """The subsets' names, in order of first appearance."""
        return list(dict.fromkeys(name for subsets in self.subsets for name in subsets))

    def only(self, wanted: Sequence[str]) -> "TestSet":
        """The faces that count in any of some subsets, without their other subsets."""
        kept = [tuple(name for name in names if name in wanted) for names in self.subsets]
        places = [place for place, names in enumerate(kept) if names]
        return TestSet(ChosenFaces(self.faces, places), [kept[place] for place in places])


class PairDataset(Dataset[Any]):
    """Source faces and target faces, indexed by a :data:`Pair`."""

    def __init__(self, source: FaceDataset, target: FaceDataset | None) -> None:
        self.source, self.target = source, target

    def __getitem__(self, key: Pair) -> tuple[FaceSample | None, FaceSample | None]:
        source, target = key
        found = None if target is None or self.target is None else self.target[target]
        return None if source is None else self.source[source], found


def collate_pairs(pairs: Sequence[tuple[FaceSample | None, FaceSample | None]]) -> TrainBatch:
    """Stack (source, target) samples; the batch has no target if the samples have none, but always a source."""
    sources = [source for source, _ in pairs if source is not None]
    targets = [target for _, target in pairs if target is not None]
    target = collate(targets) if targets else None
    if sources:
        return TrainBatch(collate(sources), target)
    assert target is not None, "a sampler's batches are not empty"
    return TrainBatch(_no_faces(target), target)


def _no_faces(like: FaceBatch) -> FaceBatch:
    """A labelled batch of no face, in the shape of another."""
    tensors = {name: getattr(like, name)[:0] for name in ("images", "matrices", "flipped", "indices")}
    return FaceBatch(**tensors, landmarks=torch.zeros(0, NUM_LANDMARKS, 2), paths=[])


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


SOURCE, TARGET, FRONTAL, MIXED = range(4)
"""Streams of a run: each is a shuffle of its own."""


class PairBatchSampler(Sampler[list[Pair]]):
    """Batches of (source, target) cuts; the k-th batch of a run depends on (seed, k) and the epoch's draws alone.

    An iteration yields ``steps_per_epoch`` batches from the current step of the run on. A trainer that resumes within
    an epoch takes as many as that epoch has left.

    Args:
        source_count: number of source faces.
        target_count: number of target faces (1 where there is no target).
        batch_size: pairs per process and step; faces where both sets are mixed.
        steps_per_epoch: batches of an epoch.
        seed: of the order and of the augmentation.
        position: returns the step of the run at which an iteration starts.
        rank: this process.
        world_size: number of processes, among which each step's pairs are split evenly.
        draws: returns what the epoch draws, when its first batch is asked for. It is asked in the main process only:
            what a loader process must know of it lies in the keys that this yields.
        frontal: places of the frontal source faces.
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
        draws: Callable[[], Draws] = Draws,
        frontal: Sequence[int] = (),
    ) -> None:
        self.counts = {SOURCE: source_count, TARGET: target_count, FRONTAL: len(frontal)}
        self.counts[MIXED] = source_count + target_count
        self.seed, self.batch_size, self.steps_per_epoch = seed, batch_size, steps_per_epoch
        self.position, self.rank, self.world_size = position, rank, world_size
        self.draws, self.frontal = draws, frontal

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[list[Pair]]:
        draws = self.draws()
        first = self.position()
        for step in range(first, first + self.steps_per_epoch):
            start = (step * self.world_size + self.rank) * self.batch_size
            yield self._mixed(draws, start) if draws.mixed else self._pairs(draws, start)

    def _drawn(self, stream: int, start: int) -> list[Draw]:
        return FaceStream(self.counts[stream], self.seed, stream).draws(start, self.batch_size)

    def _pairs(self, draws: Draws, start: int) -> list[Pair]:
        source = self._drawn(FRONTAL if draws.frontal else SOURCE, start)
        if draws.frontal:
            source = [(self.frontal[place], seed) for place, seed in source]
        target = self._drawn(TARGET, start)
        return [(_cut(draws, one), _target_cut(draws, other)) for one, other in zip(source, target, strict=True)]

    def _mixed(self, draws: Draws, start: int) -> list[Pair]:
        """Places from the source's number on are the target's."""
        count = self.counts[SOURCE]
        return [
            (_cut(draws, (place, seed)), None) if place < count else (None, _target_cut(draws, (place - count, seed)))
            for place, seed in self._drawn(MIXED, start)
        ]


def _cut(draws: Draws, draw: Draw) -> Cut:
    index, seed = draw
    return Cut(index, None if draws.plain else seed)


def _target_cut(draws: Draws, draw: Draw) -> Cut:
    cut = _cut(draws, draw)
    if draws.boxes is None:
        return cut
    x0, y0, x1, y1 = draws.boxes[cut.index].tolist()
    # Comparisons with what is not a number are false.
    fits = max(x1 - x0, y1 - y0) > 0 and np.isfinite([x0, y0, x1, y1]).all()
    return replace(cut, box=(x0, y0, x1, y1)) if fits else cut


def training_loader(
    source: FaceDataset,
    target: FaceDataset | None,
    batch_size: int,
    steps_per_epoch: int,
    seed: int = 0,
    position: Callable[[], int] = int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    draws: Callable[[], Draws] = Draws,
    frontal: Sequence[int] = (),
) -> DataLoader[TrainBatch]:
    """A loader of random (source, target) pairs, or of both mixed; see :class:`PairBatchSampler` for its arguments."""
    target_count = 1 if target is None else len(target)
    sampler = PairBatchSampler(
        len(source), target_count, batch_size, steps_per_epoch, seed, position, rank, world_size, draws, frontal
    )
    return DataLoader(
        PairDataset(source, target),
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate_pairs,
        # Without its own generator, an iteration would draw a number from torch's global one.
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(
    crops: PlainCrops, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader[FaceBatch]:
    """A loader of plain crops, in order: every ``world_size``-th face, from face ``rank`` on.

    Each face is loaded by exactly one process; none is repeated to fill up a share.
    """
    return _in_order(crops, collate, batch_size, num_workers, rank, world_size)


def face_loader(
    faces: FaceSet | WholeFaces, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader[list[Face]]:
    """A loader of lists of uncropped faces, in the order and shares of :func:`evaluation_loader`."""
    return _in_order(cast(Dataset[Any], faces), list, batch_size, num_workers, rank, world_size)


def _in_order(
    data: Dataset[Any], collate_fn: Callable[..., Any], batch_size: int, num_workers: int, rank: int, world_size: int
) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=range(rank, len(cast(Any, data)), world_size),
        num_workers=num_workers,
        collate_fn=collate_fn,
        generator=torch.Generator().manual_seed(0),
        persistent_workers=num_workers > 0,
        pin_memory=collate_fn is collate and torch.cuda.is_available(),
    )


def chosen_workers() -> int:
    """Loader processes where none are given, see :func:`workers_of_machine`."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return workers_of_machine(cores, torch.cuda.is_available())


def workers_of_machine(cores: int, gpu: bool) -> int:
    """Loader processes for this many cores: none for two or fewer, which the network's own computing fills.

    Beside a network on the CPU one process is enough: loading takes a small part of a step.
    """
    if cores <= 2:
        return 0
    return min(8, cores - 1) if gpu else 1


def steps_done(trainer: Trainer) -> int:
    """Number of training batches a run has finished, including those before it was resumed."""
    # Not `global_step`, which counts the steps of every optimizer.
    return int(_batches(trainer).total.processed)


def steps_of_epoch(trainer: Trainer) -> int:
    """Number of training batches finished in the current epoch, including those before the run was resumed."""
    return int(_batches(trainer).current.processed)


def epoch_drawn(trainer: Trainer) -> int:
    """The epoch that a loader's next iteration belongs to.

    Not ``current_epoch``: while a run is resumed, loaders are made before Lightning has set that.
    """
    return int(cast(Any, trainer.fit_loop).epoch_progress.current.processed)


def _batches(trainer: Trainer) -> Any:
    return cast(Any, trainer.fit_loop.epoch_loop.batch_progress)
