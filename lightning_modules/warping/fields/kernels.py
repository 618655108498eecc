"""The kernels of polyharmonic splines, φ(r) = ± r^k or ± r^k log r, and their sums over a grid in bounded memory.

Points, centres and grids share one frame and unit of length, which the caller chooses.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function

SIGN: Final = {1: -1.0, 2: 1.0, 3: 1.0, 4: -1.0}
"""Sign of each order's kernel that makes it conditionally positive definite (Wendland, Scattered Data Approximation,
ch. 8), so that λ > 0 smooths."""

_FACTOR: Final = {1: -1.0, 2: 0.5, 3: 1.0, 4: -0.5}
"""Factor of r, r² log r², r³ and r⁴ log r² in each order's kernel: the sign, and ½ where log r² stands for log r."""

_PIECE_ON_CPU: Final = 2**18
"""Kernel values computed at a time: 2 MiB in float64, which stay in the cache (2 to 3 times as fast as all at once)."""
_PIECE: Final = 2**24
"""The same on other devices, where each piece costs kernel launches: 128 MiB in float64."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of points ``(B, N, 2)`` and ``(B, K, 2)``, shape ``(B, N, K)``.

    Computed from differences: |a|² - 2ab + |b|² would lose those of close points to cancellation.
    """
    dx = a[..., None, 0] - b[..., None, :, 0]
    dy = a[..., None, 1] - b[..., None, :, 1]
    return dx * dx + dy * dy


def kernel(squared: Tensor, order: int, unit: Tensor) -> Tensor:
    """φ(u r) / u^k from r², for distances r in a unit of length u; only the logarithm of even orders depends on u.

    Args:
        squared: r², any shape.
        order: k, 1 to 4.
        unit: u, a shape that broadcasts with ``squared``.

    Returns:
        Shape of ``squared``. Value and gradient are 0 at r = 0 (the clamp stops the gradient there).
    """
    squared = squared.clamp_min(torch.finfo(squared.dtype).tiny)
    if order % 2:
        value = squared.sqrt() if order == 1 else squared * squared.sqrt()
    else:
        value = (squared if order == 2 else squared * squared) * (0.5 * squared.log() + unit.log())
    return SIGN[order] * value


def kernel_sum_on_grid(x: Tensor, y: Tensor, centres: Tensor, coefficients: Tensor, order: int) -> Tensor:
    """Σₖ cₖ φ(|(x, y) - sₖ|) at every node of a grid; differentiable, twice too, in centres and coefficients.

    Neither pass holds all B·M·N·K kernel values: the backward pass computes them again, piece by piece. (With
    ``create_graph=True`` autograd does keep them.)

    Args:
        x: the columns' positions, shape ``(B, N)``; they get no gradient.
        y: the rows' positions, shape ``(B, M)``; they get no gradient.
        centres: sₖ, shape ``(B, K, 2)``.
        coefficients: cₖ, shape ``(B, K, 2)``.
        order: k of the kernel, 1 to 4.

    Returns:
        Shape ``(B, 2, M, N)``.
    """
    result: Tensor = _KernelSumOnGrid.apply(x, y, centres, coefficients, order)
    return result


class _KernelSumOnGrid(Function):
    """Pieces of kernel values have shape ``(b, K, m, N)``: on a grid, r² is the sum of a column's and a row's part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, centres: Tensor, coefficients: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(x, y, centres, coefficients)
        ctx.order = order
        dx, dy = _offsets(x, y, centres)
        across, down = _squares(dx, dy)
        result = x.new_empty(len(x), 2, y.shape[1], x.shape[1])
        weights = _FACTOR[order] * coefficients.mT
        for faces, rows, squared, shared, spare in _pieces(across, down):
            values = _value(squared, _root_or_logarithm(squared, shared, order), spare, order)
            result[faces, :, rows] = (weights[faces] @ values.flatten(2)).view(-1, 2, *values.shape[2:])
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, y, centres, coefficients = ctx.saved_tensors
        order: int = ctx.order
        if torch.is_grad_enabled():  # with `create_graph=True`, autograd differentiates the plain formula
            value = _plain_sum(x, y, centres, coefficients, order)
            wanted = [t for t in (centres, coefficients) if t.requires_grad]
            found = iter(torch.autograd.grad(value, wanted, gradient, create_graph=True))
            return None, None, *(next(found) if t.requires_grad else None for t in (centres, coefficients)), None
        dx, dy = _offsets(x, y, centres)
        across, down = _squares(dx, dy)
        to_coefficients = torch.zeros_like(coefficients)
        to_x, to_y = torch.zeros_like(dx), torch.zeros_like(dy)
        gradient = _FACTOR[order] * gradient
        for faces, rows, squared, shared, spare in _pieces(across, down):
            arriving = gradient[faces, :, rows].flatten(2)
            values = _value(squared, _root_or_logarithm(squared, shared, order), spare, order)
            to_coefficients[faces] += values.flatten(2) @ arriving.mT
            slope = _slope(squared, shared, order)
            slope *= torch.bmm(coefficients[faces], arriving, out=spare.flatten(2)).view_as(slope)
            to_x[faces] += slope.sum(2)
            to_y[faces, :, rows] += slope.sum(3)
        # From offsets: positions would cancel where a node nearly coincides with a centre.
        to_centres = -2 * torch.stack([(to_x * dx).sum(2), (to_y * dy).sum(2)], dim=2)
        return None, None, to_centres, to_coefficients, None


def _offsets(x: Tensor, y: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets from centres to columns and to rows, shapes ``(B, K, N)`` and ``(B, K, M)``."""
    return x[:, None] - centres[..., 0, None], y[:, None] - centres[..., 1, None]


def _squares(dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """The columns' and rows' parts of r², whose sum is never 0, so that the logarithm is finite."""
    return dx.square().clamp_min(torch.finfo(dx.dtype).tiny), dy.square()


def _pieces(across: Tensor, down: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor, Tensor]]:
    """Faces and rows to compute at a time, r² there, and two buffers of its shape, ``(b, K, m, N)``.

    A piece has no more values than the device's limit (but at least one row of one face). All share one allocation: an
    allocation for each would take as long as the arithmetic.
    """
    batch, count, rows = down.shape
    row = count * across.shape[2]
    limit = _PIECE_ON_CPU if across.device.type == "cpu" else _PIECE
    many = min(batch, max(1, limit // (row * rows)))
    high = max(1, min(rows, limit // (row * many)))
    memory = across.new_empty(3, many * high * row)
    for first in range(0, batch, many):
        for top in range(0, rows, high):
            left, below = across[first : first + many, :, None], down[first : first + many, :, top : top + high, None]
            shape = (len(left), count, below.shape[2], across.shape[2])
            squared, shared, spare = memory[:, : math.prod(shape)].view(3, *shape)
            torch.add(left, below, out=squared)
            yield slice(first, first + many), slice(top, top + high), squared, shared, spare


def _root_or_logarithm(squared: Tensor, into: Tensor, order: int) -> Tensor:
    """r, or log r² for even orders: the costly function, which the kernel's value and derivative share."""
    return torch.sqrt(squared, out=into) if order % 2 else torch.log(squared, out=into)


def _value(squared: Tensor, shared: Tensor, spare: Tensor, order: int) -> Tensor:
    """φ over its constant factor. Overwrites ``squared``, except at order 4, whose derivative needs it."""
    if order == 1:
        return shared
    return (squared if order < 4 else torch.mul(squared, squared, out=spare)).mul_(shared)


def _slope(squared: Tensor, shared: Tensor, order: int) -> Tensor:
    """dφ/d(r²) over the same factor. Overwrites ``shared``, so the value must have been used before."""
    if order == 1:
        return shared.reciprocal_().mul_(0.5)
    if order == 3:
        return shared.mul_(1.5)
    return shared.add_(1) if order == 2 else shared.mul_(2).add_(1).mul_(squared)


def _plain_sum(x: Tensor, y: Tensor, centres: Tensor, coefficients: Tensor, order: int) -> Tensor:
    """:func:`kernel_sum_on_grid` as one formula, which autograd can differentiate any number of times."""
    dx, dy = _offsets(x, y, centres)
    squared = dx.square()[:, :, None] + dy.square()[..., None]
    values = kernel(squared, order, x.new_ones(()))
    return torch.einsum("bkc,bkmn->bcmn", coefficients, values)
