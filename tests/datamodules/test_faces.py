from collections.abc import Sequence

import numpy as np
import pytest
import torch

from datamodules import loading
from datamodules.face_sets import ChosenFaces, JoinedFaces, SomeFaces, UnlabelledFaces
from datamodules.faces import Face, FaceSample, FaceSet, FloatArray, TrainBatch, collate
from datamodules.synthetic import draw_face
from datamodules.synthetic.dataset import SyntheticFaces

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
    drawn = [draw_face("photo", 0, k, 48) for k in range(count)]
    made = [
        Face(image, f"{name}{k}", geometry.landmarks if labelled else None, box, (name,))
        for k, (image, geometry) in enumerate(drawn)
    ]
    return ListedFaces(made, name)


def sample(index: int, labelled: bool = True) -> FaceSample:
    return FaceSample(
        pixels=torch.full((3, 8, 8), index, dtype=torch.uint8),
        matrix=torch.full((2, 3), float(index)),
        flipped=index % 2 == 1,
        landmarks=torch.full((68, 2), float(index)) if labelled else None,
        index=index,
        path=f"face{index}",
    )


class TestSomeFaces:
    def test_they_are_spread_evenly(self) -> None:
        whole = faces(7)
        some = SomeFaces(whole, 3)
        assert [face.path for face in some] == ["face0", "face2", "face4"]
        assert all(np.array_equal(a, b) for a, b in zip(some.shapes(), whole.shapes()[0:5:2], strict=True))
        assert some.subsets() == [("face",)] * 3
        assert some.frontal() == [k for k, i in enumerate((0, 2, 4)) if i in whole.frontal()]
        assert some.fingerprint() != whole.fingerprint()
        assert some.has_landmarks

    def test_a_set_with_no_more_is_whole(self) -> None:
        assert len(SomeFaces(faces(2), 5)) == 2


class TestUnlabelledFaces:
    @pytest.mark.parametrize("oracle_box", [False, True])
    @pytest.mark.parametrize("given", [None, GIVEN_BOX])
    def test_landmarks_are_gone_and_the_box_is_the_protocols(self, oracle_box: bool, given: FloatArray | None) -> None:
        labelled = faces(3, box=given)
        hidden = UnlabelledFaces(labelled, oracle_box)
        assert (len(hidden), hidden.has_landmarks, hidden.shapes()) == (3, False, [])
        assert hidden.subsets() == [("face",)] * 3
        for face, truth in zip(hidden, labelled, strict=True):
            assert face.landmarks is None
            assert truth.landmarks is not None
            x, y = truth.landmarks.T
            expected = np.array([x.min(), y.min(), x.max(), y.max()]) if oracle_box else given
            np.testing.assert_array_equal(face.box, expected)

    def test_oracle_box_of_an_image_without_annotation_is_the_given_one(self) -> None:
        (face,) = UnlabelledFaces(faces(1, labelled=False, box=GIVEN_BOX), oracle_box=True)
        np.testing.assert_array_equal(face.box, GIVEN_BOX)


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
        assert list(JoinedFaces([])) == []

    def test_labelled_only_if_all_are(self) -> None:
        assert JoinedFaces([faces(1), faces(2)]).has_landmarks
        assert not JoinedFaces([faces(1), faces(2, labelled=False)]).has_landmarks

    def test_fingerprint_depends_on_every_member_their_order_and_the_protocol(self) -> None:
        a, b = faces(1, "a"), faces(1, "b")
        sets = [a, UnlabelledFaces(a), UnlabelledFaces(a, True), JoinedFaces([b]), JoinedFaces([a, b])]
        assert len({some.fingerprint() for some in (*sets, JoinedFaces([b, a]))}) == 6


class TestBatches:
    def test_collate_stacks_in_order(self) -> None:
        batch = collate([sample(2), sample(5), sample(1)])
        assert len(batch) == 3
        assert batch.images.shape == (3, 3, 8, 8)
        assert batch.flipped.tolist() == [False, True, True]
        assert batch.paths == ["face2", "face5", "face1"]
        assert batch.landmarks is not None
        for values in (batch.images, batch.matrices, batch.indices, batch.landmarks):
            assert values.reshape(3, -1)[:, -1].tolist() == [2, 5, 1]

    @pytest.mark.parametrize("labelled", [(False, False), (True, False), (False, True)])
    def test_no_landmarks_if_any_face_lacks_them(self, labelled: tuple[bool, bool]) -> None:
        assert collate([sample(k, has) for k, has in enumerate(labelled)]).landmarks is None

    @pytest.mark.parametrize("with_target", [True, False])
    def test_to_moves_every_tensor_and_keeps_the_rest(self, with_target: bool) -> None:
        batch = TrainBatch(collate([sample(0)]), collate([sample(1, labelled=False)]) if with_target else None)
        moved = batch.to("meta")
        assert (moved.target is not None) == with_target
        for half, tensors in ((moved.source, 5), *(((moved.target, 4),) if with_target else ())):
            devices = [value.device.type for value in vars(half).values() if isinstance(value, torch.Tensor)]
            assert devices == ["meta"] * tensors
        assert moved.source.paths == batch.source.paths
        assert batch.source.images.device.type == "cpu"

    def test_images_cross_as_bytes_and_become_floats_where_they_go(self) -> None:
        every = FaceSample(torch.arange(192, dtype=torch.uint8).reshape(3, 8, 8), torch.eye(3)[:2], False, None, 0, "")
        batch = collate([every])
        assert batch.images.dtype == torch.uint8
        moved = batch.to("cpu")
        assert torch.equal(moved.images, every.image[None])
        assert torch.equal(moved.images, every.pixels[None].float() / 255)
        assert moved.images.dtype == torch.float32
        # A second move changes nothing more.
        assert torch.equal(moved.to("cpu").images, moved.images)
        assert TrainBatch(batch, batch).to("cpu").source.images.dtype == torch.float32


def test_chosen_faces_keep_what_belongs_to_them() -> None:
    """In the order that was asked for, also of a subset of a test set."""
    faces = SyntheticFaces("photo", 4, seed=0, size=48, subsets=[("a", "b"), ("a",), ("c",), ("b",)])
    chosen = ChosenFaces(faces, [3, 1])
    assert [face.path for face in chosen] == [faces[3].path, faces[1].path]
    np.testing.assert_array_equal(chosen.shapes(), [faces.shapes()[3], faces.shapes()[1]])
    assert chosen.subsets() == [("b",), ("a",)]
    assert chosen.fingerprint() != ChosenFaces(faces, [1, 3]).fingerprint()
    test = loading.TestSet(faces, faces.subsets()).only(["b"])
    assert [face.path for face in test.faces] == [faces[0].path, faces[3].path]
    assert test.subsets == [("b",)] * 2
