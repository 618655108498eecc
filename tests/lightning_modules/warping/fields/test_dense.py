"""Fields given at nodes: against an interpolation written apart, their gradient, and the way back through a field."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.coordinates import pixel_grid
from lightning_modules.warping import PolyharmonicSpline, WarperObjective
from lightning_modules.warping.fields.dense import DenseField, Identity, node_grid, sampled_field
from lightning_modules.warping.fields.inverse import carried
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 24


def displacement(count: int = 2, nodes: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.05 * torch.randn(count, 2, nodes, nodes, generator=generator, dtype=torch.float64)


def interpolated(nodes: Tensor, x: float, y: float) -> float:
    """Bilinear, at (x, y) in cells of the nodes; outside, at the nearest place."""
    last = nodes.shape[0] - 1
    x, y = min(max(x, 0.0), last), min(max(y, 0.0), last)
    left, top = min(int(x), last - 1), min(int(y), last - 1)
    s, t = x - left, y - top
    above = (1 - s) * nodes[top, left] + s * nodes[top, left + 1]
    below = (1 - s) * nodes[top + 1, left] + s * nodes[top + 1, left + 1]
    return float((1 - t) * above + t * below)


def test_it_is_bilinear_between_nodes_and_constant_beyond() -> None:
    nodes = displacement()
    points = torch.rand(2, 40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2
    found = DenseField(nodes, SIZE).evaluate(points)
    for face in range(2):
        for k, (x, y) in enumerate(points[face].tolist()):
            # The last node lies on the centre of the last pixel, at (S - 1) / S.
            places = [value * SIZE / (SIZE - 1) * 4 for value in (x, y)]
            moved = [interpolated(nodes[face, axis], *places) for axis in (0, 1)]
            np.testing.assert_allclose(found[face, k], [x + moved[0], y + moved[1]], atol=1e-12)


def test_with_a_node_for_every_pixel_the_grid_is_what_is_given() -> None:
    nodes = displacement(nodes=SIZE)
    grid = DenseField(nodes, SIZE).grid(SIZE)
    torch.testing.assert_close(grid, pixel_grid(SIZE, dtype=torch.float64) + nodes.permute(0, 2, 3, 1))


def test_sampling_another_field_at_the_nodes_keeps_it_there() -> None:
    spline = PolyharmonicSpline.fit(random_faces(2), random_faces(2, seed=1))
    places = node_grid(5, SIZE, torch.zeros((), dtype=torch.float64))
    assert float(places[-1, -1, 0]) == pytest.approx((SIZE - 1) / SIZE)
    field = DenseField(sampled_field(spline, 5, SIZE, places), SIZE)
    points = places.view(1, -1, 2)
    torch.testing.assert_close(field.evaluate(points), spline.evaluate(points))


def test_gradcheck() -> None:
    # Not at the nodes, where bilinear interpolation has a kink.
    points = torch.rand(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.7 + 0.11
    nodes = displacement(nodes=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, p: DenseField(d, SIZE).evaluate(p), (nodes, points.requires_grad_()))
    photo = smooth_images(2, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda d: DenseField(d, 8).warp(photo), nodes)


def test_no_warp_leaves_photos_as_they_are() -> None:
    photo, face = smooth_images(2, SIZE, dtype=torch.float64), random_faces(2)
    warped = WarperObjective(field=Identity())(photo, face, photo, face).warped
    torch.testing.assert_close(warped, photo)


@pytest.mark.parametrize("shape", [(2, 2, 4, 5), (2, 3, 4, 4), (2, 2, 1, 1), (2, 4, 4)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 2, N, N\)"):
        DenseField(torch.zeros(shape), SIZE)


class TestTheWayBack:
    def test_landmarks_go_back_to_where_the_spline_was_fitted(self) -> None:
        # Bent, but without jitter: where the field folds, e.g. between the lips, there are several ways back.
        stylised, photo = random_faces(3, jitter=0.0), random_faces(3, seed=1, jitter=0.0)
        photo[..., 1] += 0.2 * (photo[..., :1] - 0.5).square()[..., 0]
        spline = PolyharmonicSpline.fit(stylised, photo)
        torch.testing.assert_close(carried(spline, photo), stylised, atol=1e-6, rtol=0)

    def test_any_point_comes_back(self) -> None:
        field = DenseField(0.2 * displacement(), SIZE)
        places = torch.rand(2, 30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.1
        torch.testing.assert_close(carried(field, field.evaluate(places)), places, atol=1e-6, rtol=0)

    def test_beyond_the_field_the_nearest_place_is_found(self) -> None:
        narrow = DenseField(torch.zeros(1, 2, 2, 2, dtype=torch.float64), SIZE)
        point = torch.tensor([[[3.0, -2.0]]], dtype=torch.float64)
        assert carried(narrow, point).isfinite().all()
