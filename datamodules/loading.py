"""Face sets to loaders. Every batch depends on (seed, step) alone, so that a resumed run repeats what it missed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.faces import FaceBatch, FaceSample, FaceSet, TrainBatch, collate
from datamodules.transforms import FaceTransform

Draw = tuple[int, int]
"""(index in the face set, seed of the augmentation)."""


class FaceDataset(Dataset[Any]):
    """A face set seen through a transform; indexed by :data:`Draw` when augmented, by int when not."""

    def __init__(self, faces: FaceSet, transform: FaceTransform) -> None:
        self.faces, self.transform = faces, transform

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: int | Draw) -> FaceSample:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        return self.transform(self.faces[index], index, seed)


class PairDataset(Dataset[Any]):
    """Source faces and, where there is a target, target faces drawn independently of them."""

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
    """An endless, stateless shuffle of ``count`` faces: draw p is a function of (seed, stream, p).

    Every ``count`` draws visit each face once.
    """

    count: int
    seed: int
    stream: int

    def draws(self, start: int, number: int) -> list[Draw]:
        """Draws ``start`` to ``start + number - 1``."""
        positions = range(start, start + number)
        orders = {e: self._order(e) for e in {p // self.count for p in positions}}
        return [(int(orders[p // self.count][p % self.count]), self._noise(p)) for p in positions]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, self.stream, 0, epoch]).permutation(self.count)

    def _noise(self, position: int) -> int:
        # albumentations takes seeds below 2³².
        return int(np.random.SeedSequence([self.seed, self.stream, 1, position]).generate_state(1)[0])


class PairBatchSampler(Sampler[list[tuple[Draw, Draw]]]):
    """Batches of (source draw, target draw); the k-th batch of a run depends only on (seed, k).

    Args:
        source_count: number of source faces.
        target_count: number of target faces (1 where there is no target).
        batch_size: pairs per process and step.
        steps_per_epoch: batches in an epoch, counted over the whole run: an epoch that starts at step k ends at the
            next multiple of it, which makes a run resumed in mid-epoch whole again.
        seed: of the order and of the augmentation.
        position: says at which step of the run an iteration starts.
        rank: this process.
        world_size: number of processes: each step's pairs are split evenly among them.
    """

    def __init__(
        self,
        source_count: int,
        target_count: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        position: Callable[[], int],
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


class ShardSampler(Sampler[int]):
    """Every ``world_size``-th face, each face on exactly one process (none is repeated to fill up)."""

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def evaluation_loader(
    faces: FaceSet, size: int, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader[FaceBatch]:
    """A loader over plain crops of ``faces`` in order: for testing and for pseudo landmarks."""
    return DataLoader(
        FaceDataset(faces, FaceTransform(size)),
        batch_size=batch_size,
        sampler=ShardSampler(len(faces), rank, world_size),
        num_workers=num_workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(0),
    )
