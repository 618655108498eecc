"""A linear layer over the states of 68 landmarks."""

import torch.nn.functional as F
from torch import Tensor

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.devices import eager_on_cpu
from lightning_modules.processor import amd_with_avx512

_IMAGES = NUM_LANDMARKS // 2
"""As how many images the rows of a product pass: with one thread, torch hands 1×1 convolutions of 16 and more to
oneDNN."""


def landmark_linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, equal to it up to rounding.

    On AMD's processors with AVX-512 it is a 1×1 convolution over rows that lie in memory as its channels. torch
    multiplies matrices by MKL, which leaves their AVX-512 unused, and convolves by oneDNN, which does not: there it
    takes half the time, forward and backward. Without AVX-512 it would take twice as long.

    Args:
        values: shape ``(B, 68, inputs)``.
        weight: shape ``(outputs, inputs)``.
        bias: shape ``(outputs,)``.

    Returns:
        Shape ``(B, 68, outputs)``.
    """
    if not (eager_on_cpu(values) and amd_with_avx512()):
        return F.linear(values, weight, bias)
    rows = values.reshape(_IMAGES, -1, 1, values.shape[-1]).permute(0, 3, 1, 2)
    found = F.conv2d(rows, weight[:, :, None, None], bias)
    return found.permute(0, 2, 3, 1).reshape(*values.shape[:-1], len(weight))
