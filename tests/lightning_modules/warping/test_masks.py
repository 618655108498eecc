import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from lightning_modules.warping import face_region_mask, pixel_grid
from tests.lightning_modules.warping.layouts import mean_face, random_faces


def test_the_face_region_is_the_convex_hull() -> None:
    faces, size = random_faces(2, seed=3), 96
    mask = face_region_mask(faces.float(), size)
    pixels = pixel_grid(size, dtype=torch.float64).view(-1, 2).numpy()
    for face, region in zip(faces.numpy(), mask, strict=True):
        hull = (Delaunay(face).find_simplex(pixels) >= 0).reshape(size, size)
        found = region[0].numpy() > 0
        assert found[hull].all()
        assert np.mean(found != hull) < 0.01


def test_a_soft_mask_crosses_a_half_at_the_hull_and_a_margin_widens_it() -> None:
    face = mean_face().float()[None]
    hard, soft = face_region_mask(face, 64), face_region_mask(face, 64, softness=0.02)
    assert torch.equal((soft >= 0.5).float(), hard)
    assert 0 < soft.min() < 0.01
    assert face_region_mask(face, 64, margin=0.05).sum() > hard.sum() * 1.1
    with pytest.raises(ValueError, match="softness is -1"):
        face_region_mask(face, 8, softness=-1)
