import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import splev, splprep

from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.landmarkers.star.edges import EDGES, edge_maps, edge_membership


def published_maps(face: np.ndarray, size: int) -> torch.Tensor:
    """Interpolating cubic splines, drawn antialiased by OpenCV at four times the crop, then made smaller."""
    maps = []
    for closed, indices in EDGES:
        part = face[list(indices)] * size
        x, y = (np.append(part[:, c], part[0, c]) if closed else part[:, c] for c in (0, 1))
        spline, knots = splprep([x, y], s=0, per=closed, k=3)
        steps = np.interp(np.linspace(0, len(knots) - 1, 5 * (len(knots) - 1) + 1), np.arange(len(knots)), knots)
        curve = np.stack(splev(steps, spline), -1).clip(0, size - 1)
        image = np.zeros((4 * size, 4 * size), np.float32)
        # A pixel of the crop covers 4 pixels here, whose middle is at 4 x + 1.5.
        cv2.polylines(image, [np.round(curve * 4 + 1.5).astype(np.int32)], False, 255.0, 4, cv2.LINE_AA)
        maps.append(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) / 255)
    full = torch.from_numpy(np.stack(maps))[None]
    return F.interpolate(full, scale_factor=0.25, mode="bilinear", align_corners=False)[0]


def test_they_look_like_the_published_programs() -> None:
    """Over faces a fraction of a cell apart: a thin line falls between the cells of one and on those of another."""
    random = np.random.RandomState(0)
    faces = [np.array(MEAN_FACE) + random.uniform(-0.02, 0.02, 2) for _ in range(6)]
    expected = torch.stack([published_maps(face, 256) for face in faces])
    found = edge_maps(torch.from_numpy(np.stack(faces)).float(), (64, 64))
    for edge in range(9):
        ours, theirs = found[:, edge].flatten(), expected[:, edge].flatten()
        assert F.cosine_similarity(ours, theirs, dim=0) > 0.92, EDGES[edge]
        assert ours.sum().item() == pytest.approx(theirs.sum().item(), rel=0.08), EDGES[edge]


def test_a_straight_edge_has_the_profile_of_its_line() -> None:
    """The bridge of the nose as a vertical line over cells whose middles are at pixels 5.5, 9.5 and 13.5."""
    landmarks = torch.full((1, 68, 2), 2.0)  # the other edges lie outside
    landmarks[0, 27:31, 1] = torch.linspace(0.2, 0.8, 4)
    for pixel, values in ((9.5, [0, 0.625, 0]), (10.5, [0, 0.3125, 0]), (11.5, [0, 0, 0]), (12.5, [0, 0, 0.3125])):
        landmarks[0, 27:31, 0] = pixel / 64
        found = edge_maps(landmarks, (16, 16))[0, 3, 8, 1:4]
        torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float32), atol=1e-5, rtol=0)


def test_curves_run_through_their_landmarks() -> None:
    landmarks = torch.tensor(MEAN_FACE)[None]
    maps = edge_maps(landmarks, (256, 256), stride=1)[0]
    x, y = (landmarks[0] * 256).round().long().T
    for edge, (_, indices) in enumerate(EDGES):
        assert (maps[edge, y[list(indices)], x[list(indices)]] > 0.3).all()


@pytest.mark.parametrize(("indices", "ends_meet"), [(range(36, 42), True), (range(0, 17), False)])
def test_eyes_close_and_jaws_do_not(indices: range, ends_meet: bool) -> None:
    """Landmarks on three quarters of a circle: is anything drawn in the last quarter?"""
    angle = torch.linspace(0, 1.5 * torch.pi, len(indices))
    landmarks = torch.full((1, 68, 2), 2.0)
    landmarks[0, list(indices)] = 0.5 + 0.3 * torch.stack([angle.cos(), angle.sin()], -1)
    maps = edge_maps(landmarks, (64, 64), stride=1)[0, 5 if ends_meet else 0]
    assert maps[34:62, 34:62].max() > 0.5
    assert bool(maps[:28, 36:].max() > 0.5) == ends_meet


def test_every_landmark_lies_on_one_edge() -> None:
    membership = edge_membership()
    assert membership.shape == (68, 9)
    assert (membership.sum(1) == 1).all()
    assert membership.sum(0).tolist() == [17, 5, 5, 4, 5, 6, 6, 12, 8]


def test_coinciding_landmarks_are_drawn() -> None:
    assert edge_maps(torch.full((1, 68, 2), 0.5), (16, 16)).isfinite().all()
