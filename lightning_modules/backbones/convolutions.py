"""Convolutions of timm's networks whose gradients torch computes slowly on a CPU with AVX-512."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn

from lightning_modules.devices import eager_on_cpu
from lightning_modules.processor import has_avx512

_FAST = 3
"""Side of the largest depthwise kernel whose gradient is fast: that of 5×5 takes 10 to 25 times as long as of 3×3, with
AVX-512."""

Pair = tuple[int, int]
"""In y and x."""


def quicken_convolutions(network: nn.Module) -> None:
    """Have depthwise convolutions whose kernel is above 3×3 learn faster on a CPU with AVX-512.

    Values, parameters and their names stay; gradients do, up to rounding.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and type(module) in _QUICK and _is_large_and_depthwise(module):
            module.__class__ = _QUICK[type(module)]


def _is_large_and_depthwise(module: nn.Conv2d) -> bool:
    alone = module.groups == module.in_channels == module.out_channels > 1 and module.dilation == (1, 1)
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return alone and plain and min(module.kernel_size) > _FAST


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution, with the gradient of its kernel as those of 3×3 parts."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = _gradients(gradient, images, weight, ctx.stride, ctx.padding, (True, False))[0]
        if ctx.needs_input_grad[1]:
            y, x = ctx.padding
            padded = F.pad(images, (x, x, y, y)) if y or x else images
            rows = []
            for y in _parts(weight.shape[2]):
                parts = [(x, _of_part(padded, weight, gradient, ctx.stride, (y, x))) for x in _parts(weight.shape[3])]
                rows.append((y, _joined(parts, 3)))
            of_weight = _joined(rows, 2)
        return of_images, of_weight, None, None


def _gradients(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: Pair, padding: Pair, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """torch's own, of images and weight. ``torch.nn.grad`` makes a copy as large as the images for that of a weight."""
    backward = torch.ops.aten.convolution_backward
    fixed = (1, 1), False, (0, 0), len(weight)
    of_images, of_weight, _ = backward(gradient, images, weight, None, stride, padding, *fixed, (*wanted, False))
    return of_images, of_weight


def _parts(side: int) -> list[int]:
    """Where 3 cells wide parts begin that cover a kernel's side; the last one may overlap the one before."""
    return [*range(0, side - _FAST, _FAST), side - _FAST]


def _of_part(padded: Tensor, weight: Tensor, gradient: Tensor, stride: Pair, place: Pair) -> Tensor:
    """The gradient of the kernel's 3×3 cells from a row and column on, shape ``(C, 1, 3, 3)``."""
    y, x = place
    height, width = (step * (count - 1) + _FAST for step, count in zip(stride, gradient.shape[2:], strict=True))
    seen, cells = padded[:, :, y : y + height, x : x + width], weight[:, :, y : y + _FAST, x : x + _FAST]
    return _gradients(gradient, seen, cells, stride, (0, 0), (False, True))[1]


def _joined(parts: list[tuple[int, Tensor]], dim: int) -> Tensor:
    """Parts, each with its place along a dimension, side by side; of cells that two have, the first's."""
    joined = parts[0][1]
    for place, part in parts[1:]:
        overlap = joined.shape[dim] - place
        joined = torch.cat([joined, part.narrow(dim, overlap, part.shape[dim] - overlap)], dim)
    return joined


def _learns_here(images: Tensor, weight: Tensor) -> bool:
    """Whether a gradient will be wanted, in 32 bits, of what is computed on a CPU with AVX-512."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    return learns and eager_on_cpu(images) and has_avx512() and not torch.is_autocast_enabled("cpu")


def _convolved(images: Tensor, module: nn.Conv2d, padding: Pair) -> Tensor:
    found: Tensor = _Depthwise.apply(images, module.weight, module.stride, padding)
    return found if module.bias is None else found + module.bias[:, None, None]


class _Conv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        if not _learns_here(input, self.weight):
            return super().forward(input)
        assert not isinstance(self.padding, str), "such modules are left as they are"
        y, x = self.padding
        return _convolved(input, self, (y, x))


class _Conv2dSame(Conv2dSame):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        if not _learns_here(x, self.weight):
            found: Tensor = super().forward(x)
            return found
        return _convolved(pad_same(x, self.kernel_size, self.stride), self, (0, 0))


_QUICK: dict[type[nn.Conv2d], type[nn.Conv2d]] = {nn.Conv2d: _Conv2d, Conv2dSame: _Conv2dSame}
