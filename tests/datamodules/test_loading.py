from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from datamodules.faces import FaceBatch, TrainBatch
from datamodules.loading import (
    FaceDataset,
    FaceStream,
    PairBatchSampler,
    PairDataset,
    ShardSampler,
    collate_pairs,
    evaluation_loader,
)
from datamodules.transforms import Augmentation, FaceTransform
from tests.datamodules.test_faces import faces

Batch = list[tuple[tuple[int, int], tuple[int, int]]]


def batches(
    start: int = 0,
    *,
    source: int = 10,
    target: int = 7,
    size: int = 4,
    steps: int = 5,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> list[Batch]:
    """One iteration of a sampler that starts at step ``start`` of the run."""
    return list(PairBatchSampler(source, target, size, steps, seed, lambda: start, rank, world))


def run(epochs: int, **options: int) -> Iterator[Batch]:
    """A whole run from step 0."""
    steps = options.get("steps", 5)
    for epoch in range(epochs):
        yield from batches(epoch * steps, **options)


class TestStream:
    @given(count=st.integers(1, 40), seed=st.integers(0, 2**31), stream=st.integers(0, 1), epoch=st.integers(0, 50))
    @settings(max_examples=30, deadline=None)
    def test_each_epoch_visits_every_face_once(self, count: int, seed: int, stream: int, epoch: int) -> None:
        draws = FaceStream(count, seed, stream).draws(epoch * count, count)
        assert sorted(index for index, _ in draws) == list(range(count))

    @given(start=st.integers(0, 100), number=st.integers(1, 60))
    @settings(max_examples=30, deadline=None)
    def test_a_draw_depends_on_its_position_alone(self, start: int, number: int) -> None:
        stream = FaceStream(13, 3, 0)
        assert stream.draws(start, number) == stream.draws(0, start + number)[start:]

    def test_orders_differ_between_epochs_seeds_and_streams(self) -> None:
        orders = [
            tuple(index for index, _ in FaceStream(50, seed, stream).draws(epoch * 50, 50))
            for seed in (0, 1)
            for stream in (0, 1)
            for epoch in (0, 1)
        ]
        assert len(set(orders)) == 8

    def test_the_same_face_is_varied_anew_in_each_epoch(self) -> None:
        noises = [noise for _, noise in FaceStream(5, 0, 0).draws(0, 500)]
        assert len(set(noises)) == 500
        assert all(0 <= noise < 2**32 for noise in noises)


class TestPairBatchSampler:
    def test_an_epoch_has_its_steps_and_batches_are_full(self) -> None:
        epoch = batches()
        assert [len(batch) for batch in epoch] == [4] * 5
        assert len(PairBatchSampler(10, 7, 4, 5, 0, lambda: 0)) == 5

    def test_source_and_target_are_each_visited_evenly(self) -> None:
        pairs = [pair for batch in run(7, source=10, target=7) for pair in batch]  # 140 pairs: 14 and 20 passes
        assert set(Counter(source for (source, _), _ in pairs).values()) == {14}
        assert set(Counter(target for _, (target, _) in pairs).values()) == {20}

    def test_pairs_do_not_repeat_from_pass_to_pass(self) -> None:
        """Sets of equal size: a pairing by place would repeat the same 10 pairs for ever."""
        pairs = [pair for batch in run(10, source=10, target=10) for pair in batch]
        assert len({(source, target) for (source, _), (target, _) in pairs}) > 60

    @pytest.mark.parametrize("start", [0, 3, 5, 7, 14])
    def test_a_run_that_starts_in_the_middle_is_the_tail_of_a_whole_one(self, start: int) -> None:
        whole = list(run(3))
        rest = batches(start)
        # The epoch that was cut is finished first, to the same step as in the whole run.
        assert start + len(rest) == (start // 5 + 1) * 5
        assert rest == whole[start : start + len(rest)]

    def test_the_seed_matters(self) -> None:
        assert batches(seed=0) == batches(seed=0) != batches(seed=1)

    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_split_each_global_batch(self, world: int) -> None:
        """Together they do, step by step, what one process with a batch as large does."""
        alone = batches(size=6)
        parts = [batches(size=6 // world, rank=rank, world=world) for rank in range(world)]
        for step, batch in enumerate(alone):
            assert [pair for part in parts for pair in part[step]] == batch
        noises = [noise for part in parts for batch in part for (_, noise), _ in batch]
        assert len(set(noises)) == len(noises) == 30


class TestShards:
    @pytest.mark.parametrize("world", [1, 2, 3])
    @pytest.mark.parametrize("count", [0, 1, 2, 7, 9])
    def test_every_face_is_on_exactly_one_process(self, world: int, count: int) -> None:
        shards = [ShardSampler(count, rank, world) for rank in range(world)]
        assert sorted(index for shard in shards for index in shard) == list(range(count))
        assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards]

    @pytest.mark.parametrize("world", [1, 2, 3])
    def test_evaluation_loaders_cover_the_set_without_repeats(self, world: int) -> None:
        seen: list[str] = []
        for rank in range(world):
            for batch in evaluation_loader(faces(7), 16, 2, rank=rank, world_size=world):
                assert isinstance(batch, FaceBatch)
                assert batch.paths == [f"face{index}" for index in batch.indices.tolist()]
                assert not batch.flipped.any()
                seen += batch.paths
        assert sorted(seen) == [f"face{index}" for index in range(7)]


def load(workers: int) -> list[TrainBatch]:
    transform = FaceTransform(24, Augmentation())
    data = PairDataset(FaceDataset(faces(5), transform), FaceDataset(faces(4, "target", labelled=False), transform))
    sampler = PairBatchSampler(5, 4, 3, 4, 0, lambda: 0)
    return list(
        DataLoader(
            data,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=collate_pairs,
            generator=torch.Generator().manual_seed(0),
        )
    )


class TestLoaders:
    # A machine with one core is told that two workers are many; and Python ≥ 3.12 that forking beside threads may hang.
    @pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes", "ignore:.*use of fork")
    def test_workers_do_not_change_a_batch(self) -> None:
        alone, helped = load(0), load(2)
        assert len(alone) == len(helped) == 4
        for a, b in zip(alone, helped, strict=True):
            for half in ("source", "target"):
                first, second = getattr(a, half), getattr(b, half)
                assert torch.equal(first.images, second.images)
                assert torch.equal(first.matrices, second.matrices)
                assert first.paths == second.paths
            assert torch.equal(a.source.landmarks, b.source.landmarks)
            assert b.target.landmarks is None

    def test_without_a_target_the_batch_has_none(self) -> None:
        data = PairDataset(FaceDataset(faces(2), FaceTransform(16)), None)
        batch = collate_pairs([data[(0, 1), (0, 1)], data[(1, 2), (0, 2)]])
        assert batch.target is None
        assert batch.source.paths == ["face0", "face1"]
