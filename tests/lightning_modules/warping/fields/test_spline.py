"""The spline against scipy's and a dense system written out, and its gradients against finite differences."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from lightning_modules.warping import PixelMSE, PolyharmonicSpline, landmark_warping_error, pixel_grid, warp_image
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images

ORDERS = (1, 2, 3, 4)
Array = npt.NDArray[np.float64]


def _reference(source: Array, target: Array, queries: Array, order: int, smoothing: float) -> Array:
    kernels = {1: "linear", 2: "thin_plate_spline", 3: "cubic"}
    if order in kernels:
        spline = RBFInterpolator(source, target, kernel=kernels[order], degree=1, smoothing=smoothing)
        return np.asarray(spline(queries))

    # scipy has no r⁴ log r: the textbook's system, without shift or scale.
    def kernel(a: Array) -> Array:
        r = np.linalg.norm(a[:, None] - source[None], axis=-1)
        return np.asarray(-(r**4) * np.log(np.where(r > 0, r, 1.0)))

    def affine(a: Array) -> Array:
        return np.concatenate([np.ones((len(a), 1)), a], axis=1)

    corner = np.zeros((3, 3))
    matrix = np.block([[kernel(source) + smoothing * np.eye(len(source)), affine(source)], [affine(source).T, corner]])
    solution = np.linalg.solve(matrix, np.concatenate([target, np.zeros((3, 2))]))
    return np.asarray(np.concatenate([kernel(queries), affine(queries)], axis=1) @ solution)


@pytest.mark.parametrize("smoothing", [0.0, 1e-3])
@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_the_reference_on_a_hundred_faces(order: int, smoothing: float) -> None:
    # Coordinates that float32 holds exactly: the comparison is of the fits, not of the rounding of their input.
    source, target = random_faces(100, seed=1).float().double(), random_faces(100, seed=2).float().double()
    off = torch.rand(100, 30, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1.2 - 0.1
    queries = torch.cat([source, off.float().double()], dim=1)
    grid = pixel_grid(6, dtype=torch.float64).reshape(-1, 2)
    expected, on_grid = np.empty((100, 98, 2)), np.empty((100, 36, 2))
    for i in range(100):
        everywhere = np.concatenate([queries[i].numpy(), grid.numpy()])
        found = _reference(source[i].numpy(), target[i].numpy(), everywhere, order, smoothing)
        expected[i], on_grid[i] = found[:98], found[98:]
    double = PolyharmonicSpline.fit(source, target, order, smoothing)
    single = PolyharmonicSpline.fit(source.float(), target.float(), order, smoothing)
    for spline, tolerance, dtype in ((double, 1e-8, torch.float64), (single, 1e-4, torch.float32)):
        field, mesh = spline.evaluate(queries.to(dtype)), spline.grid(6, None).flatten(1, 2)
        assert (field.dtype, mesh.dtype) == (dtype, dtype)
        np.testing.assert_allclose(field.numpy(), expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(mesh.numpy(), on_grid, rtol=0, atol=tolerance)


@pytest.mark.parametrize("order", ORDERS)
def test_interpolates_without_smoothing_and_not_with(order: int) -> None:
    source, target = random_faces(3, seed=4), random_faces(3, seed=5)
    exact = PolyharmonicSpline.fit(source, target, order)
    torch.testing.assert_close(exact.evaluate(source), target, rtol=0, atol=1e-9)
    assert landmark_warping_error(exact, source, target).max() < 1e-16
    smooth = PolyharmonicSpline.fit(source, target, order, smoothing=1.0)
    assert landmark_warping_error(smooth, source, target).min() > 1e-6


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_affine_map_is_reproduced_everywhere(order: int, smoothing: float) -> None:
    source = random_faces(2, seed=6)
    linear = torch.tensor([[1.1, -0.2], [0.3, 0.8]], dtype=torch.float64)
    target = source @ linear + 0.05
    queries = torch.rand(2, 40, 2, dtype=torch.float64) * 3 - 1
    field = PolyharmonicSpline.fit(source, target, order, smoothing).evaluate(queries)
    torch.testing.assert_close(field, queries @ linear + 0.05, rtol=0, atol=1e-8)


def test_one_query_set_serves_every_face() -> None:
    source, target = random_faces(3, seed=7), random_faces(3, seed=8)
    queries = torch.rand(1, 9, 2, dtype=torch.float64)
    spline = PolyharmonicSpline.fit(source, target)
    torch.testing.assert_close(spline.evaluate(queries), spline.evaluate(queries.expand(3, -1, -1)), rtol=0, atol=1e-14)


def test_border_anchors_hold_the_border() -> None:
    source, target = random_faces(2, seed=12), random_faces(2, seed=13)
    free = PolyharmonicSpline.fit(source, target)
    held = PolyharmonicSpline.fit(source, target, border_anchors=4)
    border = torch.tensor([[[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0], [1, 0.75], [0.25, 1], [0, 0.5]]]).double()
    torch.testing.assert_close(held.evaluate(border), border.expand(2, -1, -1), rtol=0, atol=1e-9)
    torch.testing.assert_close(held.evaluate(source), target, rtol=0, atol=1e-9)
    assert (free.evaluate(border) - border).abs().max() > 0.01


@pytest.mark.parametrize("coarse", [None, 9])
def test_a_batch_is_its_faces_one_by_one(coarse: int | None) -> None:
    source, target = random_faces(3, seed=14), random_faces(3, seed=15)
    images = torch.rand(3, 3, 24, 24, dtype=torch.float64)
    together = PolyharmonicSpline.fit(source, target).warp(images, coarse)
    alone = [PolyharmonicSpline.fit(source[i, None], target[i, None]).warp(images[i, None], coarse) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("coarse", [None, 9])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_identity_returns_the_image(order: int, coarse: int | None) -> None:
    face, image = mean_face()[None], torch.rand(1, 3, 48, 48, dtype=torch.float64)
    spline = PolyharmonicSpline.fit(face, face, order)
    torch.testing.assert_close(spline.warp(image, coarse), image, rtol=0, atol=1e-9)
    single = PolyharmonicSpline.fit(face.float(), face.float(), order).warp(image.float(), coarse)
    torch.testing.assert_close(single, image.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("coarse", [None, 7])
def test_warped_at_x_is_the_photo_at_w_of_x(coarse: int | None) -> None:
    # The stylised face lies 3 px right of the photo's and 2 px below: so must the warped photo.
    size, photo_face = 32, mean_face()[None]
    stylised_face = photo_face + torch.tensor([3.0, 2.0]) / size
    photo = torch.zeros(1, 1, size, size, dtype=torch.float64)
    photo[0, 0, 10, 12] = 1.0
    warped = PolyharmonicSpline.fit(stylised_face, photo_face).warp(photo, coarse)
    expected = torch.zeros_like(photo)
    expected[0, 0, 12, 15] = 1.0
    torch.testing.assert_close(warped, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("coarse", [9, 17, 65])
def test_an_affine_field_survives_the_coarse_grid(coarse: int) -> None:
    source = mean_face()[None]
    linear = torch.tensor([[0.9, 0.2], [-0.1, 1.15]], dtype=torch.float64)
    field = PolyharmonicSpline.fit(source, source @ linear - 0.1).grid(70, coarse)
    torch.testing.assert_close(field, pixel_grid(70, dtype=torch.float64)[None] @ linear - 0.1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_default_grid_is_as_close_to_the_exact_field_as_documented(order: int) -> None:
    source, target = random_faces(1, seed=1).float().requires_grad_(), random_faces(1, seed=2).float()
    photo, stylised = smooth_images(1, 256), smooth_images(1, 256, seed=9)
    spline = PolyharmonicSpline.fit(source, target, order)
    fields = spline.grid(256), spline.grid(256, None)
    warped = [warp_image(photo, field) for field in fields]
    gradients = [torch.autograd.grad(PixelMSE()(w, stylised).sum(), source, retain_graph=True)[0] for w in warped]
    assert (fields[0] - fields[1]).abs().mean() * 256 < 0.005
    assert (warped[0] - warped[1]).abs().mean() < 2e-4
    assert torch.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) > 0.999


@pytest.mark.parametrize(
    "arguments",
    [
        {"order": 5},
        {"smoothing": -1.0},
        {"smoothing": float("nan")},
        {"border_anchors": -1},
        {"target_points": torch.zeros(1, 67, 2)},
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    points = mean_face()[None]
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PolyharmonicSpline.fit(**{"source_points": points, "target_points": points, **arguments})
    with pytest.raises(ValueError, match="coarse is 1"):
        PolyharmonicSpline.fit(points, points).grid(16, coarse=1)
