import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lightning_modules.landmarkers.spiga.face_3d import MEAN_FACE_3D
from lightning_modules.landmarkers.spiga.head_pose import (
    FOCAL_LENGTH,
    fit_pose,
    nearest_rotation,
    project,
    rotation_angles,
    rotation_matrix,
)

FACE = torch.tensor(MEAN_FACE_3D, dtype=torch.float64)


def poses(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([40.0, 25.0, 30.0, 0.2, 0.2, 0.4], dtype=torch.float64)
    middle = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 2.8], dtype=torch.float64)
    return middle + spread * (2 * torch.rand(count, 6, generator=generator, dtype=torch.float64) - 1)


def test_rotations_are_scipys() -> None:
    angles = poses(20)[:, :3]
    expected = Rotation.from_euler("YXZ", angles.numpy() * [-1, -1, 1], degrees=True).as_matrix()
    np.testing.assert_allclose(rotation_matrix(angles), expected, atol=1e-12)
    torch.testing.assert_close(rotation_angles(rotation_matrix(angles)), angles)


def test_rotations_are_the_published_ones_in_other_axes() -> None:
    """SPIGA turns points (z, -x, -y), y up and z to the camera, by yaw about y, pitch about z and roll about x."""
    angles = poses(10)[:, :3].numpy()
    yaw, pitch, roll = 90 - angles[:, 0], -angles[:, 1], -(angles[:, 2] + 90)
    published = Rotation.from_euler("YZX", np.stack([yaw, pitch, roll], 1), degrees=True).as_matrix()
    to_world = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(rotation_matrix(torch.from_numpy(angles)), published @ to_world, atol=1e-12)


def test_it_projects_as_opencv_does() -> None:
    camera = np.array([[FOCAL_LENGTH, 0, 0.5], [0, FOCAL_LENGTH, 0.5], [0, 0, 1]])
    for pose in poses(5):
        turn, _ = cv2.Rodrigues(rotation_matrix(pose[:3]).numpy())
        expected, _ = cv2.projectPoints(FACE.numpy(), turn, pose[3:].numpy(), camera, None)
        np.testing.assert_allclose(project(FACE, pose[None])[0], expected[:, 0], atol=1e-12)


def test_it_is_differentiable() -> None:
    assert torch.autograd.gradcheck(lambda pose: project(FACE[:9], pose), poses(2).requires_grad_())


def test_fitting_finds_the_pose_of_a_projected_face() -> None:
    wanted = poses(30)
    torch.testing.assert_close(fit_pose(FACE, project(FACE, wanted), iterations=50), wanted, atol=1e-3, rtol=0)


def test_one_iteration_is_the_weak_perspective_fit() -> None:
    """Exact for a face seen from far away: x = s R (X + t) with one scale s."""
    wanted = poses(10)[:, :3]
    scale = 1.5 / 3.0
    seen = scale * (FACE @ rotation_matrix(wanted).mT)[..., :2] + torch.tensor([0.55, 0.45], dtype=torch.float64)
    found = fit_pose(FACE, seen, iterations=1)
    torch.testing.assert_close(found[:, :3], wanted, atol=1e-6, rtol=0)
    expected = torch.tensor([0.1, -0.1, 3.0], dtype=torch.float64).expand(10, 3)
    torch.testing.assert_close(found[:, 3:], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_broken_label_gives_a_finite_pose(value: float) -> None:
    assert fit_pose(FACE, torch.full((1, 68, 2), value, dtype=torch.float64)).isfinite().all()


def test_the_nearest_rotation_is_that_of_a_singular_value_decomposition() -> None:
    rows = torch.randn(200, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[:20, 1] = rows[:20, 0] + 1e-4 * rows[:20, 1]  # nearly parallel
    first, second = rows.unbind(1)
    left, _, right = torch.linalg.svd(torch.stack([first, second, torch.linalg.cross(first, second)], dim=1))
    found = nearest_rotation(first, second)
    torch.testing.assert_close(found, left @ right, atol=1e-9, rtol=0)
    torch.testing.assert_close(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(200, 3, 3), atol=1e-9, rtol=0)
