from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.faces import TrainBatch
from datamodules.loading import FaceStream, PairBatchSampler, evaluation_loader, training_loader
from datamodules.transforms import Augmentation, FaceTransform
from tests.datamodules.test_faces import faces

Batch = list[tuple[tuple[int, int], tuple[int, int]]]


def batches(start: int = 0, *, source: int = 10, target: int = 7, size: int = 4, **options: int) -> list[Batch]:
    """One iteration, over five steps, of a sampler that starts at step ``start`` of the run."""
    return list(PairBatchSampler(source, target, size, 5, position=lambda: start, **options))


def run(epochs: int, **options: int) -> Iterator[Batch]:
    """A whole run from step 0."""
    for epoch in range(epochs):
        yield from batches(epoch * 5, **options)


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

    def test_the_same_face_is_augmented_anew_in_each_epoch(self) -> None:
        seeds = [seed for _, seed in FaceStream(5, 0, 0).draws(0, 500)]
        assert len(set(seeds)) == 500
        assert all(0 <= seed < 2**32 for seed in seeds)


class TestPairBatchSampler:
    def test_source_and_target_are_each_visited_evenly_in_full_batches(self) -> None:
        made = list(run(7, source=10, target=7))  # 140 pairs: 14 and 20 passes
        assert [len(batch) for batch in made] == [4] * 35
        assert set(Counter(source for batch in made for (source, _), _ in batch).values()) == {14}
        assert set(Counter(target for batch in made for _, (target, _) in batch).values()) == {20}

    def test_pairs_do_not_repeat_from_pass_to_pass(self) -> None:
        """Sets of equal size: a pairing by place would repeat the same 10 pairs for ever."""
        pairs = [pair for batch in run(10, source=10, target=10) for pair in batch]
        assert len({(source, target) for (source, _), (target, _) in pairs}) > 60

    @pytest.mark.parametrize("start", [0, 3, 5, 7, 14])
    def test_a_run_that_starts_in_the_middle_is_the_tail_of_a_whole_one(self, start: int) -> None:
        whole, rest = list(run(3)), batches(start)
        # The epoch that was cut is finished first, to the same step as in the whole run.
        assert start + len(rest) == (start // 5 + 1) * 5
        assert rest == whole[start : start + len(rest)]

    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_split_each_global_batch(self, world: int) -> None:
        """Together they do, step by step, what one process with a batch as large does."""
        alone = batches(size=6)
        parts = [batches(size=6 // world, rank=rank, world_size=world) for rank in range(world)]
        for step, batch in enumerate(alone):
            assert [pair for part in parts for pair in part[step]] == batch
        seeds = [seed for part in parts for batch in part for (_, seed), _ in batch]
        assert len(set(seeds)) == len(seeds) == 30


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_evaluation_loads_every_face_on_exactly_one_process(world: int, count: int) -> None:
    seen: list[str] = []
    for rank in range(world):
        loader = evaluation_loader(faces(count), 16, 2, rank=rank, world_size=world)
        loaded = list(loader)
        assert len(loader) == len(loaded)
        for batch in loaded:
            assert batch.paths == [f"face{index}" for index in batch.indices.tolist()]
            assert not batch.flipped.any()
            seen += batch.paths
    assert sorted(seen) == [f"face{index}" for index in range(count)]


def load(workers: int) -> list[TrainBatch]:
    source, target = faces(5), faces(4, "target", labelled=False)
    return list(training_loader(source, target, FaceTransform(24, Augmentation()), 3, 4, num_workers=workers))


# A machine with one core is told that two workers are many; and Python ≥ 3.12 that forking beside threads may hang.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes", "ignore:.*use of fork")
def test_workers_do_not_change_a_batch() -> None:
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


def test_without_a_target_the_batch_has_none() -> None:
    (batch,) = training_loader(faces(2), None, FaceTransform(16), 2, 1)
    assert batch.target is None
    assert sorted(batch.source.paths) == ["face0", "face1"]
