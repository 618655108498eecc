from collections.abc import Sequence

import numpy as np
import pytest
import torch

from datamodules.faces import (
    Face,
    FaceBatch,
    FaceSample,
    FaceSet,
    FloatArray,
    JoinedFaces,
    TrainBatch,
    UnlabelledFaces,
    collate,
)
from tests.layouts import draw_face, face_landmarks

GIVEN_BOX = np.array([1, 2, 30, 40], np.float32)


class ListedFaces(FaceSet):
    """Faces in memory."""

    def __init__(self, faces: Sequence[Face], name: str = "listed") -> None:
        self.faces, self.name = faces, name

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def has_landmarks(self) -> bool:
        return all(face.landmarks is not None for face in self.faces)

    def face(self, index: int) -> Face:
        return self.faces[index]

    def subsets(self) -> list[tuple[str, ...]]:
        return [face.subsets for face in self.faces]

    def shapes(self) -> list[FloatArray]:
        return [face.landmarks for face in self.faces if face.landmarks is not None]

    def fingerprint(self) -> str:
        return self.name


def faces(count: int, name: str = "face", labelled: bool = True, box: FloatArray | None = None) -> ListedFaces:
    shapes = [face_landmarks(48, k) for k in range(count)]
    return ListedFaces(
        [
            Face(draw_face(48, shape, k), f"{name}{k}", shape if labelled else None, box, (name,))
            for k, shape in enumerate(shapes)
        ],
        name,
    )


def sample(index: int, labelled: bool = True) -> FaceSample:
    return FaceSample(
        image=torch.full((3, 8, 8), float(index)),
        matrix=torch.full((2, 3), float(index)),
        flipped=index % 2 == 1,
        landmarks=torch.full((68, 2), float(index)) if labelled else None,
        index=index,
        path=f"face{index}",
    )


def test_a_face_set_is_a_sequence_that_ends() -> None:
    listed = faces(3)
    assert [face.path for face in listed] == ["face0", "face1", "face2"]
    for index in (3, -1):
        with pytest.raises(IndexError):
            listed[index]


class TestUnlabelledFaces:
    @pytest.mark.parametrize("oracle_box", [False, True])
    def test_landmarks_are_gone_everywhere(self, oracle_box: bool) -> None:
        hidden = UnlabelledFaces(faces(4), oracle_box)
        assert len(hidden) == 4
        assert all(face.landmarks is None for face in hidden)
        assert not hidden.has_landmarks
        assert hidden.shapes() == []
        assert hidden.subsets() == [("face",)] * 4

    def test_no_box_is_made_of_the_landmarks(self) -> None:
        assert all(face.box is None for face in UnlabelledFaces(faces(3)))

    def test_a_box_that_came_with_the_image_is_kept(self) -> None:
        for face in UnlabelledFaces(faces(2, box=GIVEN_BOX)):
            np.testing.assert_array_equal(face.box, GIVEN_BOX)

    def test_oracle_box_is_that_of_the_annotation_even_over_a_given_one(self) -> None:
        labelled = faces(2, box=GIVEN_BOX)
        for face, truth in zip(UnlabelledFaces(labelled, oracle_box=True), labelled, strict=True):
            x, y = truth.landmarks[:, 0], truth.landmarks[:, 1]
            np.testing.assert_allclose(face.box, [x.min(), y.min(), x.max(), y.max()])

    def test_oracle_box_of_an_image_without_annotation_is_the_given_one(self) -> None:
        (face,) = UnlabelledFaces(faces(1, labelled=False, box=GIVEN_BOX), oracle_box=True)
        np.testing.assert_array_equal(face.box, GIVEN_BOX)

    def test_the_set_behind_it_is_left_as_it_was(self) -> None:
        labelled = faces(1)
        UnlabelledFaces(labelled)[0]
        assert labelled[0].landmarks is not None

    def test_fingerprints_tell_the_protocols_apart(self) -> None:
        labelled = faces(1)
        assert (
            len({s.fingerprint() for s in (labelled, UnlabelledFaces(labelled), UnlabelledFaces(labelled, True))}) == 3
        )


class TestJoinedFaces:
    def test_faces_follow_set_after_set(self) -> None:
        joined = JoinedFaces([faces(2, "a"), faces(0, "none"), faces(3, "b"), faces(1, "c")])
        assert len(joined) == 6
        assert [face.path for face in joined] == ["a0", "a1", "b0", "b1", "b2", "c0"]
        assert [subsets for (subsets,) in joined.subsets()] == ["a", "a", "b", "b", "b", "c"]
        np.testing.assert_array_equal(np.stack(joined.shapes()), np.stack([face.landmarks for face in joined]))
        for index in (6, -1):
            with pytest.raises(IndexError):
                joined[index]

    def test_labelled_only_if_all_are(self) -> None:
        assert JoinedFaces([faces(1), faces(2)]).has_landmarks
        assert not JoinedFaces([faces(1), faces(2, labelled=False)]).has_landmarks

    def test_none_is_empty(self) -> None:
        assert len(JoinedFaces([])) == 0
        assert list(JoinedFaces([])) == []

    def test_fingerprint_depends_on_every_member_and_their_order(self) -> None:
        a, b = faces(1, "a"), faces(1, "b")
        assert len({JoinedFaces(sets).fingerprint() for sets in ([a], [b], [a, b], [b, a])}) == 4


class TestBatches:
    def test_collate_stacks_in_order(self) -> None:
        batch = collate([sample(2), sample(5), sample(1)])
        assert len(batch) == 3
        assert batch.images.shape == (3, 3, 8, 8)
        assert batch.images[:, 0, 0, 0].tolist() == [2, 5, 1]
        assert batch.matrices[:, 0, 0].tolist() == [2, 5, 1]
        assert batch.flipped.tolist() == [False, True, True]
        assert batch.indices.tolist() == [2, 5, 1]
        assert batch.paths == ["face2", "face5", "face1"]
        assert batch.landmarks is not None
        assert batch.landmarks[:, 7, 1].tolist() == [2, 5, 1]

    @pytest.mark.parametrize("labelled", [(False, False), (True, False), (False, True)])
    def test_no_landmarks_if_any_face_lacks_them(self, labelled: tuple[bool, bool]) -> None:
        assert collate([sample(k, has) for k, has in enumerate(labelled)]).landmarks is None

    @pytest.mark.parametrize("labelled", [True, False])
    def test_to_moves_every_tensor_and_keeps_the_rest(self, labelled: bool) -> None:
        batch = collate([sample(0, labelled), sample(1, labelled)])
        moved = batch.to("meta")
        tensors = [v for v in vars(moved).values() if isinstance(v, torch.Tensor)]
        assert len(tensors) == 4 + labelled
        assert {tensor.device.type for tensor in tensors} == {"meta"}
        assert moved.paths == batch.paths
        assert batch.images.device.type == "cpu"

    @pytest.mark.parametrize("with_target", [True, False])
    def test_a_train_batch_moves_both_halves(self, with_target: bool) -> None:
        target: FaceBatch | None = collate([sample(1, labelled=False)]) if with_target else None
        moved = TrainBatch(collate([sample(0)]), target).to("meta")
        assert moved.source.images.is_meta
        assert (moved.target is not None) == with_target
        assert moved.target is None or (moved.target.images.is_meta and moved.target.landmarks is None)
