"""No finite layout of landmarks may break a training run: forward and backward stay finite."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.warping import PolyharmonicSpline, warp_image
from tests.lightning_modules.warping.layouts import mean_face, random_faces

ORDERS = (1, 2, 3, 4)


def _is_finite_both_ways(
    source: Tensor, target: Tensor, order: int, smoothing: float, coarse: int | None = 4, size: int = 8
) -> bool:
    """Whether the field, the warped image and every gradient are finite."""
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    image = torch.rand(len(source), 1, size, size, requires_grad=True)
    spline = PolyharmonicSpline.fit(source, target, order, smoothing)
    field = spline.grid(size, coarse)
    warped = warp_image(image, field)
    gradients = torch.autograd.grad(warped.square().mean() + spline.evaluate(source).mean(), (source, target, image))
    return all(bool(tensor.isfinite().all()) for tensor in (field, warped, *gradients))


LINE = torch.linspace(0.1, 0.9, 68)
FACE = mean_face().float()
COLLAPSED = {
    "one point": torch.full((68, 2), 0.4),
    "one point far away": torch.full((68, 2), 1e30),
    "two points": torch.tensor([[0.2, 0.3], [0.8, 0.6]]).repeat(34, 1),
    "on a diagonal": torch.stack([LINE, LINE], dim=-1),
    "on a vertical": torch.stack([torch.full_like(LINE, 0.3), LINE], dim=-1),
    "nearly on a line": torch.stack([LINE, LINE + 1e-6 * torch.sin(50 * LINE)], dim=-1),
    "closed mouth": torch.cat([FACE[:60], FACE[60:61].repeat(8, 1)]),
    "outside the image": FACE * 30 - 20,
    "one stray landmark": torch.cat([FACE[:67], torch.tensor([[1e30, -1e30]])]),
    "huge": FACE * 1e38,
    "tiny": FACE * 1e-30,
    "a lattice": torch.cartesian_prod(torch.linspace(0, 1, 17), torch.linspace(0, 1, 4)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", COLLAPSED)
def test_collapsed_layouts(name: str, order: int) -> None:
    collapsed, face = COLLAPSED[name][None], FACE[None]
    for smoothing, coarse in ((0.0, None), (0.0, 4), (0.01, None), (0.01, 4)):
        assert _is_finite_both_ways(collapsed, face, order, smoothing, coarse)
        assert _is_finite_both_ways(face, collapsed, order, smoothing, coarse)


coordinate = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.0, 1e-20, 1e20]),
    st.floats(-2, 3, width=32),
    st.floats(-(2.0**100), 2.0**100, width=32),
)
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=12)


@settings(max_examples=400, deadline=None)
@given(points, st.sampled_from(ORDERS), st.sampled_from([0.0, 1e-6, 10.0]), st.sampled_from([None, 4]))
def test_any_layout(layout: list[tuple[float, float]], order: int, smoothing: float, coarse: int | None) -> None:
    drawn, face = torch.tensor(layout, dtype=torch.float32), mean_face()[: len(layout)].float()
    # One batch asks both questions: a drawn layout to a face, and a face to a drawn layout.
    assert _is_finite_both_ways(torch.stack([drawn, face]), torch.stack([face, drawn]), order, smoothing, coarse, 6)


def test_all_landmarks_on_one_point_give_a_translation() -> None:
    source = torch.full((1, 68, 2), 0.4)
    target = source + torch.tensor([0.1, -0.05])
    spline = PolyharmonicSpline.fit(source, target)
    queries = torch.rand(1, 20, 2)
    torch.testing.assert_close(spline.evaluate(queries), queries + torch.tensor([0.1, -0.05]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_coinciding_landmarks_go_to_the_mean_of_their_targets(order: int) -> None:
    face = mean_face()[None]
    source, target = face.clone(), face.clone()
    source[:, 66] = source[:, 62]
    target[:, 62, 1] += 0.02
    target[:, 66] = target[:, 62] + torch.tensor([0.0, 0.01])
    spline = PolyharmonicSpline.fit(source, target, order)
    expected = (target[:, 62:63] + target[:, 66:67]) / 2
    torch.testing.assert_close(spline.evaluate(source[:, 62:63]), expected, rtol=0, atol=1e-3)
    others = [i for i in range(68) if i not in (62, 66)]
    torch.testing.assert_close(spline.evaluate(source[:, others]), target[:, others], rtol=0, atol=1e-8)


def test_one_broken_face_leaves_the_others_alone() -> None:
    faces, targets = random_faces(3, seed=1), random_faces(3, seed=2)
    broken = faces.clone()
    broken[1] = 0.4
    whole, beside = PolyharmonicSpline.fit(faces, targets).grid(8), PolyharmonicSpline.fit(broken, targets).grid(8)
    torch.testing.assert_close(beside[[0, 2]], whole[[0, 2]], rtol=0, atol=1e-12)


def test_a_singular_system_gets_the_affine_least_squares_fit() -> None:
    # Order 4 with an affine part only: at this λ, found as minus an eigenvalue of the kernel matrix on the complement
    # of the affine functions, the system has no solution.
    source = torch.tensor([[[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]]], dtype=torch.float64)
    radius = (source.mT[0][:, :, None] - source.mT[0][:, None, :]).square().sum(0).sqrt()
    kernel = -(radius**4) * torch.log(torch.where(radius > 0, radius, 1.0))
    affine = torch.cat([torch.ones(5, 1, dtype=torch.float64), source[0]], dim=1)
    complement = torch.linalg.qr(affine, mode="complete")[0][:, 3:]
    eigenvalue = torch.linalg.eigvalsh(complement.T @ kernel @ complement).min()
    assert eigenvalue < 0
    target = source + torch.tensor([[0.3, 0.1], [0.0, 0.2], [-0.1, 0.0], [0.0, 0.0], [0.2, -0.3]])
    field = PolyharmonicSpline.fit(source, target, order=4, smoothing=-float(eigenvalue)).evaluate(source)
    expected = affine @ torch.linalg.lstsq(affine, target[0]).solution
    torch.testing.assert_close(field[0], expected, rtol=0, atol=1e-5)
