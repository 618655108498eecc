"""The spline against scipy's and a dense system written out, and its gradients against finite differences."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from lightning_modules.warping import PolyharmonicSpline, landmark_warping_error
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
def test_agrees_with_the_reference(order: int, smoothing: float) -> None:
    # Coordinates that float32 holds exactly: the comparison is of the fits, not of the rounding of their input.
    source, target = random_faces(20, seed=1).float().double(), random_faces(20, seed=2).float().double()
    off = torch.rand(20, 50, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1.2 - 0.1
    queries = torch.cat([source, off.float().double()], dim=1)
    double = PolyharmonicSpline.fit(source, target, order, smoothing).evaluate(queries)
    single = PolyharmonicSpline.fit(source.float(), target.float(), order, smoothing).evaluate(queries.float())
    assert (double.dtype, single.dtype) == (torch.float64, torch.float32)
    for i in range(20):
        expected = _reference(source[i].numpy(), target[i].numpy(), queries[i].numpy(), order, smoothing)
        np.testing.assert_allclose(double[i].numpy(), expected, rtol=0, atol=1e-8)
        np.testing.assert_allclose(single[i].numpy(), expected, rtol=0, atol=1e-4)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.01])
@pytest.mark.parametrize("order", ORDERS)
def test_gradient_of_the_field(order: int, smoothing: float) -> None:
    # Nine landmarks spread over the face; every query is one of them or off them all.
    chosen = [0, 8, 16, 19, 24, 30, 36, 45, 57]
    source = random_faces(2, seed=9)[:, chosen].requires_grad_()
    target = random_faces(2, seed=10)[:, chosen].requires_grad_()
    queries = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()

    def field(source: torch.Tensor, target: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        return PolyharmonicSpline.fit(source, target, order, smoothing).evaluate(queries)

    assert torch.autograd.gradcheck(field, (source, target, queries))
    assert torch.autograd.gradcheck(
        lambda s, t: PolyharmonicSpline.fit(s, t, order, smoothing).grid(9, 4), (source, target)
    )


def test_gradient_at_the_landmarks_themselves() -> None:
    source, target = mean_face()[None, ::8].requires_grad_(), random_faces(1, seed=11)[:, ::8].requires_grad_()

    def error(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return landmark_warping_error(PolyharmonicSpline.fit(source, target, smoothing=0.01), source, target)

    assert torch.autograd.gradcheck(error, (source, target))


def test_border_anchors_hold_the_border() -> None:
    source, target = random_faces(2, seed=12), random_faces(2, seed=13)
    free = PolyharmonicSpline.fit(source, target)
    held = PolyharmonicSpline.fit(source, target, border_anchors=4)
    border = torch.tensor([[[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0], [1, 0.75], [0.25, 1], [0, 0.5]]]).double()
    torch.testing.assert_close(held.evaluate(border), border.expand(2, -1, -1), rtol=0, atol=1e-9)
    torch.testing.assert_close(held.evaluate(source), target, rtol=0, atol=1e-9)
    assert (free.evaluate(border) - border).abs().max() > 0.01


def test_autocast_changes_nothing() -> None:
    source, target = random_faces(2, seed=14).float(), random_faces(2, seed=15).float()
    image = torch.rand(2, 3, 32, 32)
    plain = PolyharmonicSpline.fit(source, target).warp(image, coarse=9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = PolyharmonicSpline.fit(source, target).warp(image, coarse=9)
    assert torch.equal(plain, mixed)


def test_half_precision_landmarks_give_a_float32_field() -> None:
    source = mean_face()[None].bfloat16()
    assert PolyharmonicSpline.fit(source, source).grid(8).dtype == torch.float32


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
