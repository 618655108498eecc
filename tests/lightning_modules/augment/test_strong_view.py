"""Strong views: landmarks move as the pixels do."""

from typing import Any

import pytest
import torch

from lightning_modules.augment.strong_view import StrongView
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.warping.procrustes import align
from tests.lightning_modules.augment.test_exaggeration import SIZE, centroids, dots
from tests.lightning_modules.methods.small import shapes, smooth_images

MEAN = torch.tensor(MEAN_FACE, dtype=torch.float64)
STILL: dict[str, Any] = {"rotation": 0.0, "scale": (1.0, 1.0), "shift": 0.0, "bend": 0.0}
PLAIN: dict[str, Any] = dict.fromkeys(("colour", "grey", "blur", "noise", "erase"), 0.0)


def test_landmarks_land_where_their_pixels_do() -> None:
    """One dot per landmark, each image with a view of its own."""
    landmarks = 0.25 + 0.5 * (MEAN - MEAN.min()) / (MEAN.max() - MEAN.min())
    images, moved = StrongView(**PLAIN)(dots(landmarks), landmarks.expand(68, -1, -1))
    own = torch.arange(68)
    assert ((moved - landmarks)[own, own].norm(dim=-1) * SIZE).max() > 5
    off = (centroids(images) - moved[own, own]).norm(dim=-1) * SIZE
    assert off.max() < 0.3


def test_the_geometry_is_a_similarity_and_a_bend() -> None:
    points = shapes(200)
    view = StrongView(rotation=25, scale=(0.9, 1.1), shift=0.05, bend=0.0)
    moved = view.move(points)
    torch.testing.assert_close(align(points, moved), moved)
    spread = lambda x: (x - x.mean(1, keepdim=True)).square().sum((1, 2)).sqrt()  # noqa: E731
    scale = spread(moved) / spread(points)
    assert (float(scale.min()), float(scale.max())) == pytest.approx((0.9, 1.1), abs=0.01)
    eyes = moved[:, 45] - moved[:, 36]
    before = points[:, 45] - points[:, 36]
    angle = torch.rad2deg(torch.atan2(eyes[:, 1], eyes[:, 0]) - torch.atan2(before[:, 1], before[:, 0]))
    assert float(angle.abs().max()) == pytest.approx(25, abs=1)
    # The crop's centre only shifts.
    centre = view.move(torch.full((200, 1, 2), 0.5, dtype=torch.float64))
    assert float((centre - 0.5).abs().max()) == pytest.approx(0.05, abs=0.003)
    bent = StrongView(**{**STILL, "bend": 0.02}).move(points)
    residual = (align(points, bent) - bent).norm(dim=-1).mean()
    assert 0.003 < residual < 0.03


def test_nothing_asked_for_changes_nothing() -> None:
    images, landmarks = smooth_images(3).float(), shapes(3).float()
    views, moved = StrongView(**STILL, **PLAIN)(images, landmarks)
    torch.testing.assert_close(moved, landmarks, atol=1e-6, rtol=0)
    torch.testing.assert_close(views, images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", PLAIN)
def test_each_part_changes_pixels_and_not_landmarks(part: str) -> None:
    images, landmarks = smooth_images(4).float(), shapes(4).float()
    views, moved = StrongView(**STILL, **{**PLAIN, part: 1.0})(images, landmarks)
    torch.testing.assert_close(moved, landmarks, atol=1e-6, rtol=0)
    assert ((views - images).abs().amax((1, 2, 3)) > 2e-3).all()
    assert views.min() >= 0
    assert views.max() <= 1


def test_a_teacher_gone_wrong_leaves_views_finite() -> None:
    heap = torch.full((2, 68, 2), 0.5)
    views, moved = StrongView()(smooth_images(2).float(), heap)
    assert views.isfinite().all()
    assert moved.isfinite().all()
