from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.faces import FaceSet, TrainBatch
from datamodules.kept import FaceDataset, PlainCrops
from datamodules.loading import Draws, FaceStream, Pair, PairBatchSampler, evaluation_loader, training_loader
from datamodules.transforms import Augmentation, FaceTransform
from tests.datamodules.test_faces import faces

Batch = list[Pair]


def batches(start: int = 0, *, source: int = 10, target: int = 7, size: int = 4, **options: Any) -> list[Batch]:
    """One iteration, over five steps, of a sampler that starts at step ``start`` of the run."""
    return list(PairBatchSampler(source, target, size, 5, position=lambda: start, **options))


def indices(made: Iterable[Batch], role: int) -> list[int]:
    """The faces of a role (0: source, 1: target) that batches hold, in order."""
    return [pair[role].index for batch in made for pair in batch if pair[role] is not None]


def run(epochs: int, **options: Any) -> Iterator[Batch]:
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
        assert set(Counter(indices(made, 0)).values()) == {14}
        assert set(Counter(indices(made, 1)).values()) == {20}

    def test_pairs_do_not_repeat_from_pass_to_pass(self) -> None:
        """Sets of equal size: a pairing by place would repeat the same 10 pairs for ever."""
        made = list(run(10, source=10, target=10))
        assert len(set(zip(indices(made, 0), indices(made, 1), strict=True))) > 60

    @pytest.mark.parametrize("start", [0, 3, 5, 7, 14])
    def test_a_run_that_starts_in_the_middle_is_the_tail_of_a_whole_one(self, start: int) -> None:
        assert batches(start) == list(run(4))[start : start + 5]

    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_split_each_global_batch(self, world: int) -> None:
        """Together they do, step by step, what one process with a batch as large does."""
        alone = batches(size=6)
        parts = [batches(size=6 // world, rank=rank, world_size=world) for rank in range(world)]
        for step, batch in enumerate(alone):
            assert [pair for part in parts for pair in part[step]] == batch
        seeds = [pair[0].seed for part in parts for batch in part for pair in batch if pair[0] is not None]
        assert len(set(seeds)) == len(seeds) == 30


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_evaluation_loads_every_face_on_exactly_one_process(world: int, count: int) -> None:
    seen: list[str] = []
    for rank in range(world):
        loader = evaluation_loader(PlainCrops(faces(count), 16), 2, rank=rank, world_size=world)
        loaded = list(loader)
        assert len(loader) == len(loaded)
        for batch in loaded:
            assert batch.paths == [f"face{index}" for index in batch.indices.tolist()]
            assert not batch.flipped.any()
            seen += batch.paths
    assert sorted(seen) == [f"face{index}" for index in range(count)]


def datasets(source: FaceSet, target: FaceSet, transform: FaceTransform) -> tuple[FaceDataset, FaceDataset]:
    return FaceDataset(source, transform), FaceDataset(target, transform, moving=True)


def load(workers: int) -> list[TrainBatch]:
    source, target = faces(5), faces(4, "target", labelled=False)
    transform = FaceTransform(24, Augmentation())
    return list(training_loader(*datasets(source, target, transform), 3, 4, num_workers=workers))


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
    (batch,) = training_loader(FaceDataset(faces(2), FaceTransform(16)), None, 2, 1)
    assert batch.target is None
    assert sorted(batch.source.paths) == ["face0", "face1"]


class TestDraws:
    """What a method may ask of an epoch's batches."""

    def test_mixed_batches_are_one_shuffle_of_both_sets(self) -> None:
        made = list(run(11, source=10, target=7, draws=lambda: Draws(mixed=True)))[:51]  # 204 faces: 12 passes over 17
        assert [len(batch) for batch in made] == [4] * 51
        assert all((source is None) != (target is None) for batch in made for source, target in batch)
        assert Counter(indices(made, 0)) == dict.fromkeys(range(10), 12)
        assert Counter(indices(made, 1)) == dict.fromkeys(range(7), 12)
        # Photos and target faces are not taken in turns or in blocks.
        shares = Counter(sum(source is not None for source, _ in batch) for batch in made)
        assert len(shares) >= 3

    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_split_a_mixed_batch(self, world: int) -> None:
        options: dict[str, Any] = {"draws": lambda: Draws(mixed=True)}
        parts = [batches(size=6 // world, rank=rank, world_size=world, **options) for rank in range(world)]
        for step, batch in enumerate(batches(size=6, **options)):
            assert [pair for part in parts for pair in part[step]] == batch

    def test_frontal_photos_alone_are_each_visited_evenly(self) -> None:
        made = list(run(3, frontal=[1, 4, 9], draws=lambda: Draws(frontal=True)))  # 60 pairs
        assert Counter(indices(made, 0)) == {1: 20, 4: 20, 9: 20}
        assert len(set(indices(made, 1))) == 7

    def test_plain_crops_have_no_seed(self) -> None:
        for draws, plain in ((Draws(), False), (Draws(plain=True), True)):
            cuts = [cut for batch in batches(draws=lambda d=draws: d) for pair in batch for cut in pair]
            assert [cut.seed is None for cut in cuts if cut is not None] == [plain] * 40

    @pytest.mark.parametrize("mixed", [False, True])
    def test_boxes_go_to_the_target_faces_they_belong_to(self, mixed: bool) -> None:
        boxes = np.array([[k, k + 1, k + 10, k + 20] for k in range(7)], np.float32)
        made = list(run(3, draws=lambda: Draws(mixed=mixed, boxes=boxes)))
        for source, target in (pair for batch in made for pair in batch):
            assert source is None or source.box is None
            assert target is None or target.box == tuple(boxes[target.index].tolist())

    @pytest.mark.parametrize("bad", [[np.nan, 0, 1, 1], [5, 5, 5, 5], [0, 0, np.inf, 1]])
    def test_a_box_that_cannot_be_cropped_to_leaves_the_faces_own(self, bad: list[float]) -> None:
        boxes = np.tile(np.array([[0, 0, 8, 8]], np.float32), (7, 1))
        boxes[3] = bad
        made = batches(size=14, draws=lambda: Draws(boxes=boxes))
        assert {target.box is None for batch in made for _, target in batch if target and target.index == 3} == {True}
        assert {target.box is None for batch in made for _, target in batch if target and target.index != 3} == {False}


def cropped_by_hand(points: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    side = 1.2 * max(box[2] - box[0], box[3] - box[1])
    return (points - (box[:2] + box[2:]) / 2) / side * size + size / 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes", "ignore:.*use of fork")
def test_a_face_is_cropped_to_its_given_box_also_by_loader_processes(workers: int) -> None:
    """Boxes change between two passes of one loader, whose processes stay."""
    target = faces(3, "target", labelled=False)
    boxes = np.array([[10, 12, 30, 36], [8, 8, 40, 20], [0, 4, 44, 44]], np.float32)
    asked = iter([Draws(plain=True, boxes=boxes), Draws(plain=True, boxes=boxes[::-1].copy()), Draws(plain=True)])
    loader = training_loader(
        *datasets(faces(3), target, FaceTransform(24, Augmentation())),
        3,
        2,
        num_workers=workers,
        draws=lambda: next(asked),
    )
    whole = np.array([[3.5, 3.5, 43.5, 43.5]] * 3)  # 1.2 times it is the image of 48 pixels
    for expected in (boxes, boxes[::-1], whole):
        for batch in loader:
            assert batch.target is not None
            corners = np.array([[0.0, 0.0], [47.0, 31.0]])
            for index, matrix in zip(batch.target.indices.tolist(), batch.target.matrices.numpy(), strict=True):
                found = corners @ matrix[:, :2].T + matrix[:, 2]
                np.testing.assert_allclose(found, cropped_by_hand(corners, expected[index], 24), atol=1e-4)


def test_a_mixed_batch_may_hold_one_kind_alone() -> None:
    photos, target = faces(1), faces(9, "target", labelled=False)
    transform = FaceTransform(16)
    made = list(training_loader(*datasets(photos, target, transform), 1, 10, draws=lambda: Draws(mixed=True)))
    assert Counter((len(batch.source), batch.target is not None) for batch in made) == {(0, True): 9, (1, False): 1}
    for batch in made:
        assert batch.source.landmarks is not None
        assert batch.source.landmarks.shape == (len(batch.source), 68, 2)
        assert batch.source.images.shape == (len(batch.source), 3, 16, 16)
