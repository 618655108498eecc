"""Convolutions of timm's networks whose gradients torch computes slowly on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, get_same_padding
from torch import Tensor, nn

from lightning_modules.devices import eager_on_cpu

_FAST = 3
"""Side of the largest depthwise kernel whose gradient is fast: that of 5×5 takes 10 to 25 times as long as of 3×3."""

Pair = tuple[int, int]
"""In y and x."""
Zeros = tuple[Pair, Pair]
"""How many lie before and after the images, in y and in x."""


def quicken_convolutions(network: nn.Module) -> None:
    """Have depthwise convolutions learn faster on a CPU where their kernel is above 3×3, or zeros lie unequally.

    Values, parameters and their names stay; gradients do, up to rounding.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d) or not _is_depthwise(module):
            continue
        if type(module) is Conv2dSame:
            module.__class__ = _Conv2dSame
        if type(module) is nn.Conv2d and min(module.kernel_size) > _FAST:
            module.__class__ = _Conv2d


def _is_depthwise(module: nn.Conv2d) -> bool:
    alone = module.groups == module.in_channels == module.out_channels > 1 and module.dilation == (1, 1)
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return alone and plain and min(module.kernel_size) >= _FAST


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution, with the gradient of its kernel as those of 3×3 parts."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: Pair, zeros: Zeros) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.zeros = stride, zeros
        found = F.conv2d(images, weight, None, stride, _on_both_sides(zeros, stride), 1, len(weight))
        if _alike(zeros):
            return found
        height, width = (_count(images, weight, stride, zeros, axis) for axis in (0, 1))
        ctx.left_out = found.shape[2] - height - 1, found.shape[3] - width - 1
        return found[:, :, 1 : 1 + height, 1 : 1 + width].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_all = gradient if _alike(ctx.zeros) else F.pad(gradient, (1, ctx.left_out[1], 1, ctx.left_out[0]))
            padding = _on_both_sides(ctx.zeros, ctx.stride)
            of_images = _gradients(of_all, images, weight, ctx.stride, padding, (True, False))[0]
        if ctx.needs_input_grad[1]:
            padded = _padded(images, ctx.zeros)
            rows = []
            for y in _parts(weight.shape[2]):
                parts = [(x, _of_part(padded, weight, gradient, ctx.stride, (y, x))) for x in _parts(weight.shape[3])]
                rows.append((y, _joined(parts, 3)))
            of_weight = _joined(rows, 2)
        return of_images, of_weight, None, None


def _alike(zeros: Zeros) -> bool:
    return all(before == after for before, after in zeros)


def _on_both_sides(zeros: Zeros, stride: Pair) -> Pair:
    """The padding of a convolution that finds what is wanted; first one value more, where sides are not padded alike.

    Padding them by themselves would be a copy of the images, and another one backward.
    """
    if _alike(zeros):
        return zeros[0][0], zeros[1][0]
    return zeros[0][0] + stride[0], zeros[1][0] + stride[1]


def _count(images: Tensor, weight: Tensor, stride: Pair, zeros: Zeros, axis: int) -> int:
    """How many values the convolution has in y or x."""
    side = images.shape[2 + axis] + sum(zeros[axis])
    return int((side - weight.shape[2 + axis]) // stride[axis] + 1)


def _padded(images: Tensor, zeros: Zeros) -> Tensor:
    """``F.pad``, which writes zeros everywhere first."""
    (top, bottom), (left, right) = zeros
    batch, channels, height, width = images.shape
    size = (batch, channels, top + height + bottom, left + width + right)
    padded = torch.empty(size, dtype=images.dtype, memory_format=torch.channels_last)
    padded[:, :, :top], padded[:, :, top + height :] = 0, 0
    padded[..., :left], padded[..., left + width :] = 0, 0
    padded[:, :, top : top + height, left : left + width] = images
    return padded


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
    """Whether a gradient will be wanted, in 32 bits, of what is computed on a CPU."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    return learns and eager_on_cpu(images) and not torch.is_autocast_enabled("cpu")


def _convolved(images: Tensor, module: nn.Conv2d, zeros: Zeros) -> Tensor:
    found: Tensor = _Depthwise.apply(images, module.weight, module.stride, zeros)
    return found if module.bias is None else found + module.bias[:, None, None]


class _Conv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        if not _learns_here(input, self.weight):
            return super().forward(input)
        assert not isinstance(self.padding, str), "such modules are left as they are"
        y, x = self.padding
        return _convolved(input, self, ((y, y), (x, x)))


class _Conv2dSame(Conv2dSame):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        if not _learns_here(x, self.weight):
            found: Tensor = super().forward(x)
            return found
        sizes = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        across = [get_same_padding(size, side, step, 1) for size, side, step in sizes]
        # Of all zeros that are needed, the smaller half comes first.
        return _convolved(x, self, ((across[0] // 2, -(-across[0] // 2)), (across[1] // 2, -(-across[1] // 2))))
