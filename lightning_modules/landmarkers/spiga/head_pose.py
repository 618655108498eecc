"""Head poses: projects a 3D face under a pose, and fits the pose to given landmarks.

A pose is (yaw, pitch, roll, t_x, t_y, t_z): degrees, and the head's place in units of the 3D face, shape ``(..., 6)``.
The camera's axes point right, down and away from it; the face at pose 0 looks into the camera. These are SPIGA's
published conventions, written as one product of rotations.
"""

import torch
from torch import Tensor

FOCAL_LENGTH = 1.5
"""The camera's focal length in crop sides; its axis runs through the crop's middle (published)."""

NEAREST = 0.1
"""Smallest distance from the camera that is projected; an untrained network may put points behind it."""


def rotation_matrix(angles: Tensor) -> Tensor:
    """From yaw, pitch and roll in degrees, ``(..., 3)``, to ``(..., 3, 3)``: R_y(-yaw) R_x(-pitch) R_z(roll)."""
    yaw, pitch, roll = torch.deg2rad(angles).unbind(-1)
    yaw, pitch = -yaw, -pitch
    one, zero = torch.ones_like(yaw), torch.zeros_like(yaw)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=-1).reshape(*yaw.shape, 3, 3)

    about_y = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    about_x = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    about_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return about_y @ about_x @ about_z


def rotation_angles(rotation: Tensor) -> Tensor:
    """The inverse of :func:`rotation_matrix`, for pitches between -90 and 90 degrees."""
    yaw = -torch.atan2(rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = torch.asin(rotation[..., 1, 2].clamp(-1, 1))
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], dim=-1))


def project(face: Tensor, pose: Tensor) -> Tensor:
    """Where the points of a 3D face appear in the crop.

    Args:
        face: in the camera's axes at pose 0, shape ``(N, 3)``.
        pose: shape ``(B, 6)``.

    Returns:
        Crop coordinates, shape ``(B, N, 2)``.
    """
    points = face @ rotation_matrix(pose[:, :3]).mT + pose[:, None, 3:]
    return FOCAL_LENGTH * points[..., :2] / points[..., 2:].clamp_min(NEAREST) + 0.5


def fit_pose(face: Tensor, landmarks: Tensor, iterations: int = 10) -> Tensor:
    """The pose under which a 3D face projects about to ``landmarks``.

    The first iteration is the weak-perspective fit, by least squares and the nearest rotation; the others correct the
    landmarks for perspective and repeat it (DeMenthon, Davis: "Model-Based Object Pose in 25 Lines of Code", IJCV
    1995).

    Args:
        face: in the camera's axes at pose 0, shape ``(N, 3)``, not in one plane.
        landmarks: crop coordinates, shape ``(B, N, 2)``.
        iterations: 1 for weak perspective.

    Returns:
        Shape ``(B, 6)``, without gradient.
    """
    face, image = face.detach().double(), (landmarks.detach().double() - 0.5) / FOCAL_LENGTH
    points = torch.cat([face, torch.ones_like(face[:, :1])], dim=1)
    solver = torch.linalg.solve_ex(points.mT @ points, points.mT)[0]
    correction = torch.ones_like(image[..., :1])
    for _ in range(iterations):
        rows = (solver @ (image * correction)).mT
        # The two rows of the scaled rotation; their mean length is the scale, the distance's inverse.
        scale = rows[..., :3].norm(dim=-1).prod(-1, keepdim=True).sqrt().clamp_min(1e-3)
        first, second = (rows[..., :3] / scale[..., None]).unbind(1)
        rotation = nearest_rotation(first, second)
        correction = 1 + (face @ rotation[:, 2, :, None]) * scale[..., None]
    translation = torch.cat([rows[..., 3] / scale, 1 / scale], dim=-1)
    return torch.cat([rotation_angles(rotation), translation], dim=-1).to(landmarks)


def nearest_rotation(first: Tensor, second: Tensor) -> Tensor:
    """The rotation nearest to the matrix of two rows and their cross product, ``(..., 3)`` each; ``(..., 3, 3)``.

    It is the orthogonal factor of the polar decomposition. The third row is orthogonal to the others, so that they are
    multiplied by G^(-1/2), G their 2×2 Gram matrix, whose root has a closed form: (G + s I) / sqrt(tr G + 2 s) with
    s = sqrt(det G) (Cayley and Hamilton). Two parallel rows give some rotation about them.
    """
    third = torch.linalg.cross(first, second)
    a, b, c = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    # The area, not sqrt(ac - b²), which cancels where the rows are nearly parallel.
    area = third.norm(dim=-1).clamp_min(1e-12)
    scale = 1 / (area * (a + c + 2 * area).sqrt())
    upper = ((c + area) * scale)[..., None] * first - (b * scale)[..., None] * second
    lower = ((a + area) * scale)[..., None] * second - (b * scale)[..., None] * first
    return torch.stack([upper, lower, third / area[..., None]], dim=-2)
