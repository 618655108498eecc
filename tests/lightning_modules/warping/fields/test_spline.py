"""The spline against scipy's and a dense system written out, and its gradients against finite differences."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from lightning_modules.warping import PolyharmonicSpline, landmark_warping_error, pixel_grid
from tests.lightning_modules.warping.layouts import mean_face, random_faces

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


def test_landmark_warping_error_is_the_mean_squared_distance() -> None:
    source, target = random_faces(2, seed=4), random_faces(2, seed=5)
    spline = PolyharmonicSpline.fit(source, source)
    expected = np.mean(np.linalg.norm((source - target).numpy(), axis=-1) ** 2, axis=-1)
    np.testing.assert_allclose(landmark_warping_error(spline, source, target).numpy(), expected, atol=1e-12)


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


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("coarse", [None, 9])
def test_autocast_changes_nothing(half: torch.dtype, coarse: int | None) -> None:
    target, image = random_faces(2, seed=15).float(), torch.rand(2, 3, 32, 32)

    def value_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        source = random_faces(2, seed=14).float().requires_grad_()
        warped = PolyharmonicSpline.fit(source, target).warp(image, coarse)
        return warped, torch.autograd.grad(warped.square().sum(), source)[0]

    plain = value_and_gradient()
    with torch.autocast("cpu", dtype=half):
        mixed = value_and_gradient()
    assert torch.equal(plain[0], mixed[0])
    assert torch.equal(plain[1], mixed[1])


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("coarse", [None, 9])
def test_half_precision_landmarks_are_computed_in_float32_or_better(half: torch.dtype, coarse: int | None) -> None:
    source = random_faces(2, seed=14).to(half).requires_grad_()
    target, image = random_faces(2, seed=15).to(half), torch.rand(2, 3, 32, 32).to(half)
    spline = PolyharmonicSpline.fit(source, target)
    whole = PolyharmonicSpline.fit(source.detach().float(), target.float())
    assert spline.grid(32, coarse).dtype == torch.float32
    assert torch.equal(spline.grid(32, coarse), whole.grid(32, coarse))
    warped = spline.warp(image, coarse)
    assert warped.dtype == half
    assert torch.equal(warped, whole.warp(image.float(), coarse).to(half))
    gradient = torch.autograd.grad(warped.float().square().mean(), source)[0]
    assert gradient.dtype == half
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 5}, "order is 5"),
        ({"smoothing": -1.0}, "smoothing is -1.0"),
        ({"smoothing": float("nan")}, "smoothing is nan"),
        ({"border_anchors": -1}, "border_anchors is -1"),
        ({"target_points": torch.zeros(1, 67, 2)}, r"\(1, 68, 2\).*\(1, 67, 2\)"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    points = mean_face()[None]
    with pytest.raises(ValueError, match=message):
        PolyharmonicSpline.fit(**{"source_points": points, "target_points": points, **arguments})  # type: ignore[arg-type]


def test_too_coarse_a_grid_is_refused() -> None:
    points = mean_face()[None]
    with pytest.raises(ValueError, match="coarse is 1"):
        PolyharmonicSpline.fit(points, points).grid(16, coarse=1)
