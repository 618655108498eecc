"""Pairing by pose, against the optimal assignment and against faces of known yaw."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.warping import InOrder, SimilarPose, yaw
from tests.lightning_modules.warping.layouts import mean_face, random_faces

NOSE_DEPTH = 0.3


def turned(degrees: float) -> Tensor:
    """The mean face with a nose tip ``NOSE_DEPTH`` before the plane of eyes and jaw ends, turned, shape ``(68, 2)``."""
    angle, face = math.radians(degrees), mean_face()
    depth = torch.zeros(68, dtype=torch.float64)
    depth[30] = NOSE_DEPTH
    x = (face[:, 0] - 0.5) * math.cos(angle) + depth * math.sin(angle) + 0.5
    return torch.stack([x, face[:, 1]], dim=-1)


def similar(faces: Tensor, degrees: float, scale: float) -> Tensor:
    """Faces turned within the image, scaled and moved."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    return scale * faces @ turn + torch.tensor([0.3, -2.0], dtype=torch.float64)


class TestYaw:
    def test_of_a_turned_face_is_its_tangent_times_the_noses_depth(self) -> None:
        angles = [-60.0, -30.0, -5.0, 0.0, 20.0, 45.0]
        face = mean_face()
        width = ((face[16] - face[0] + face[45] - face[36]) / 2)[0]
        expected = [NOSE_DEPTH * math.tan(math.radians(angle)) / float(width) for angle in angles]
        found = yaw(torch.stack([turned(angle) for angle in angles]))
        assert found.tolist() == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize(("degrees", "scale"), [(25.0, 1.0), (0.0, 0.2), (-160.0, 100.0)])
    def test_does_not_see_a_similarity(self, degrees: float, scale: float) -> None:
        faces = random_faces(6, seed=3)
        torch.testing.assert_close(yaw(similar(faces, degrees, scale)), yaw(faces))

    def test_of_a_mirrored_face_is_the_opposite(self) -> None:
        faces = random_faces(6, seed=4)
        mirrored = (torch.tensor([1.0, 0.0]) + torch.tensor([-1.0, 1.0]) * faces)[:, list(FLIP_PERMUTATION)]
        torch.testing.assert_close(yaw(mirrored), -yaw(faces))

    def test_refuses_other_schemes(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 98, 2\); expected \(B, 68, 2\)"):
            yaw(torch.rand(2, 98, 2))


class TestSimilarPose:
    @pytest.mark.parametrize("power", [2.0, 1.3])
    @pytest.mark.parametrize("count", [1, 7, 32])
    def test_is_the_optimal_assignment(self, count: int, power: float) -> None:
        """Strictly convex costs have one optimum in general position: scipy must find the very same pairs."""
        photos, stylised = random_faces(count, seed=1, jitter=0.03), random_faces(count, seed=2, jitter=0.03)
        cost = (yaw(stylised)[:, None] - yaw(photos)[None]).abs().numpy() ** power
        _, expected = linear_sum_assignment(cost)
        assert SimilarPose()(photos, stylised).tolist() == expected.tolist()

    def test_finds_the_photo_of_the_same_yaw(self) -> None:
        angles = torch.linspace(-40, 40, 9)
        drawn = torch.randperm(9, generator=torch.Generator().manual_seed(0))
        photos = torch.stack([turned(float(angle)) for angle in angles])
        stylised = similar(photos[drawn], 12.0, 0.7)
        assert SimilarPose()(photos, stylised).tolist() == drawn.tolist()

    def test_is_without_gradient_and_takes_half_precision(self) -> None:
        photos, stylised = random_faces(5, seed=1), random_faces(5, seed=2).requires_grad_()
        order = SimilarPose()(photos, stylised)
        assert order.dtype == torch.int64
        assert not order.requires_grad
        assert sorted(SimilarPose()(photos.half(), stylised.bfloat16()).tolist()) == list(range(5))

    @pytest.mark.parametrize("value", [0.5, math.nan, math.inf, 3e38])
    def test_is_a_permutation_of_degenerate_landmarks(self, value: float) -> None:
        stylised = torch.full((4, 68, 2), value)
        assert yaw(stylised).tolist() == [0.0] * 4
        photos = random_faces(4).float()
        # All alike: ties keep the order in which the faces came.
        assert SimilarPose()(photos, stylised).tolist() == yaw(photos).argsort().tolist()
        assert SimilarPose()(stylised, stylised).tolist() == [0, 1, 2, 3]

    def test_collapsed_eyes_and_jaw_do_not_outgrow_every_float(self) -> None:
        faces = random_faces(2).float()
        faces[0, [0, 16, 36, 45]] = faces[0, 36].clone()
        faces[0, 16] += 1e-12
        assert yaw(faces).isfinite().all()


def test_in_order_leaves_the_pairs_as_they_come() -> None:
    order = InOrder()(random_faces(4, seed=1), random_faces(4, seed=2))
    assert order.dtype == torch.int64
    np.testing.assert_array_equal(order.numpy(), np.arange(4))
