"""Sums of kernels over a grid against the same sums written out, value and gradients, however they are cut."""

import pytest
import torch
from torch import Tensor

from lightning_modules.warping.fields import kernels
from lightning_modules.warping.fields.kernels import kernel, kernel_sum_on_grid, squared_distances
from tests.lightning_modules.warping.layouts import random_faces

ORDERS = (1, 2, 3, 4)


def _written_out(x: Tensor, y: Tensor, centres: Tensor, coefficients: Tensor, order: int) -> Tensor:
    """Every point with every centre at once."""
    nodes = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[..., None].expand(-1, -1, x.shape[1])], dim=-1)
    values = kernel(squared_distances(nodes.flatten(1, 2), centres), order, x.new_ones(()))
    return (values @ coefficients).mT.unflatten(2, (y.shape[1], x.shape[1]))


def _inputs(faces: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(faces, 11, generator=generator, dtype=torch.float64)
    y = torch.rand(faces, 7, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(faces, 68, 2, generator=generator, dtype=torch.float64)
    return x, y, random_faces(faces, seed=2).requires_grad_(), coefficients.requires_grad_()


@pytest.mark.parametrize("piece", [1, 68 * 11 * 3, 68 * 11 * 7 * 2, 2**18])
@pytest.mark.parametrize("order", ORDERS)
def test_value_and_gradients(monkeypatch: pytest.MonkeyPatch, order: int, piece: int) -> None:
    monkeypatch.setattr(kernels, "_PIECE_ON_CPU", piece)
    x, y, centres, coefficients = _inputs()
    found, expected = (sums(x, y, centres, coefficients, order) for sums in (kernel_sum_on_grid, _written_out))
    assert found.shape == (3, 2, 7, 11)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    arriving = torch.randn(found.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gradients = [torch.autograd.grad(sums, (centres, coefficients), arriving) for sums in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("order", ORDERS)
def test_a_node_on_a_centre_has_neither_value_nor_gradient(order: int) -> None:
    centres = torch.tensor([[[0.25, 0.5]]], dtype=torch.float64, requires_grad=True)
    coefficients = torch.ones(1, 1, 2, dtype=torch.float64, requires_grad=True)
    x, y = torch.tensor([[0.25]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    value = kernel_sum_on_grid(x, y, centres, coefficients, order)
    gradients = torch.autograd.grad(value.sum(), (centres, coefficients))
    for tensor in (value, *gradients):
        torch.testing.assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=1e-150)


def test_memory_of_a_pass_is_bounded() -> None:
    # What a pass makes, forward and backward, as torch's allocator sees it: a piece or so, not all kernel values.
    count, size = 68, 200
    x = (torch.arange(size, dtype=torch.float64) / size).expand(2, -1)
    centres = random_faces(2, seed=2).requires_grad_()
    coefficients = torch.ones(2, count, 2, dtype=torch.float64, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        torch.autograd.grad(kernel_sum_on_grid(x, x, centres, coefficients, 2).sum(), (centres, coefficients))
    largest = max(event.cpu_memory_usage for event in recorded.events())
    assert 0 < largest < 2 * count * size * size * 8 / 4
