"""Pairing by pose, against the optimal assignment and against faces of known yaw."""

import math

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
    """Faces rotated within the image, scaled and moved."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    return scale * faces @ turn + torch.tensor([0.3, -2.0], dtype=torch.float64)


def test_yaw_of_a_turned_face_is_its_tangent_times_the_noses_depth() -> None:
    angles = [-60.0, -30.0, -5.0, 0.0, 20.0, 45.0]
    face = mean_face()
    width = float(((face[16] - face[0] + face[45] - face[36]) / 2)[0])
    expected = [NOSE_DEPTH * math.tan(math.radians(angle)) / width for angle in angles]
    assert yaw(torch.stack([turned(angle) for angle in angles])).tolist() == pytest.approx(expected, abs=1e-12)


def test_yaw_is_blind_to_similarities_and_odd_in_reflections() -> None:
    faces = random_faces(6, seed=3)
    for degrees, scale in ((25.0, 1.0), (0.0, 0.2), (-160.0, 100.0)):
        torch.testing.assert_close(yaw(similar(faces, degrees, scale)), yaw(faces))
    mirrored = (torch.tensor([1.0, 0.0]) + torch.tensor([-1.0, 1.0]) * faces)[:, list(FLIP_PERMUTATION)]
    torch.testing.assert_close(yaw(mirrored), -yaw(faces))
    with pytest.raises(ValueError, match=r"\(2, 98, 2\); expected \(B, 68, 2\)"):
        yaw(torch.rand(2, 98, 2))


@pytest.mark.parametrize("power", [2.0, 1.3])
@pytest.mark.parametrize("count", [1, 7, 32])
def test_similar_pose_is_the_optimal_assignment(count: int, power: float) -> None:
    """Strictly convex costs have one optimum in general position: scipy must find the very same pairs."""
    photos, stylised = random_faces(count, seed=1, jitter=0.03), random_faces(count, seed=2, jitter=0.03)
    cost = (yaw(stylised)[:, None] - yaw(photos)[None]).abs().numpy() ** power
    _, expected = linear_sum_assignment(cost)
    found = SimilarPose()(photos, stylised.requires_grad_())
    assert found.tolist() == expected.tolist()
    assert (found.dtype, found.requires_grad) == (torch.int64, False)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf, 3e38])
def test_degenerate_landmarks_are_paired_in_order(value: float) -> None:
    stylised, photos = torch.full((4, 68, 2), value), random_faces(4).float()
    assert yaw(stylised).tolist() == [0.0] * 4
    assert SimilarPose()(photos, stylised).tolist() == yaw(photos).argsort().tolist()
    assert SimilarPose()(stylised, stylised).tolist() == InOrder()(photos, stylised).tolist() == [0, 1, 2, 3]
    photos[0, [0, 16, 36, 45]] = photos[0, 36].clone()
    photos[0, 16] += 1e-12
    assert yaw(photos).isfinite().all()
