"""Filters that make photos look like drawings: brush strokes, flat colours, ink, pencil, another picture's colours.

They take RGB in [0, 1] of shape ``(B, 3, S, S)`` and, but for :func:`ink_lines`, return the same. No pixel moves, so
labels stay exact.
"""

import math

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from kornia.filters import gaussian_blur2d
from torch import Tensor

from lightning_modules.devices import constant


def brush(images: Tensor, radius: int) -> Tensor:
    """Brush strokes: each pixel takes the mean colour of the most uniform of the four squares it is a corner of.

    Args:
        images: RGB in [0, 1], shape ``(B, 3, S, S)``.
        radius: of the strokes, in pixels; 0 changes nothing.

    Source: the filter of Kuwahara et al. 1976 on four squares, weighted softly by their variance as in Papari, Petkov,
    Campisi 2007: taking only the least variance makes the borders of strokes noisy.
    """
    padded = F.pad(images, [radius] * 4, mode="replicate")
    mean = F.avg_pool2d(padded, radius + 1, 1)
    variance = (F.avg_pool2d(padded.square(), radius + 1, 1) - mean.square()).sum(1, keepdim=True)
    sharpness = (variance.clamp_min(0) + 1e-4) ** -4
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    size = images.shape[-1]
    for top in (0, radius):
        for left in (0, radius):
            here = (..., slice(top, top + size), slice(left, left + size))
            total += sharpness[here] * mean[here]
            weights += sharpness[here]
    return total / weights


def flatten_colours(images: Tensor, levels: int) -> Tensor:
    """Round each channel to so many values, 0 and 1 among them (at least 2): the areas of a poster."""
    return (images * (levels - 1)).round() / (levels - 1)


def ink_lines(images: Tensor, width: float, darkness: float = 0.97, softness: float = 60.0) -> Tensor:
    """Ink lines along dark edges: 1 is paper and 0 is ink, shape ``(B, 1, S, S)``.

    Args:
        images: RGB in [0, 1], shape ``(B, 3, S, S)``.
        width: of the lines, as the finer Gaussian's standard deviation in pixels.
        darkness: a pixel this many times as bright as what surrounds it, or brighter, is paper.
        softness: how fast darker ones become ink; low values give grey lines.

    Source: the extended difference of Gaussians of Winnemöller, Kyprianidis, Olsen 2012 (k = 1.6), as a ratio instead
    of a difference, so that shadows get lines as lights do.
    """
    grey: Tensor = rgb_to_grayscale(images)
    ratio = blur(grey, width) / blur(grey, 1.6 * width).clamp_min(0.02)
    lines: Tensor = 1 + torch.tanh(softness * (ratio - darkness).clamp_max(0))
    return lines


def pencil(images: Tensor, width: float) -> Tensor:
    """A pencil sketch: grey where a pixel is darker than what surrounds it, white elsewhere (a colour dodge).

    Args:
        images: RGB in [0, 1], shape ``(B, 3, S, S)``.
        width: how far strokes reach, as a Gaussian's standard deviation in pixels.
    """
    grey: Tensor = rgb_to_grayscale(images)
    sketch = (grey / blur(grey, width).clamp_min(0.02)).clamp(0, 1)
    # Squared: pencil lines are darker than the ratio alone. A quarter of the photo's own shading is kept.
    return (sketch.square() * (0.75 + 0.25 * grey)).expand_as(images)


def clarity(images: Tensor, reach: float, strength: float) -> Tensor:
    """Local contrast as painters exaggerate it: the difference from a wide blur, multiplied.

    Args:
        images: RGB in [0, 1], shape ``(B, 3, S, S)``.
        reach: standard deviation of the blur in pixels.
        strength: what is added of the difference; 0 changes nothing, below 0 flattens.
    """
    return (images + strength * (images - blur(images, reach))).clamp(0, 1)


def match_colours(images: Tensor, reference: Tensor) -> Tensor:
    """Give each image the mean and the spread of another's colours, channel by channel.

    Args:
        images: RGB in [0, 1], shape ``(B, 3, S, S)``.
        reference: one for each image, shape ``(B, 3, …, …)``.

    Source: Reinhard et al. 2001, in opponent colours (grey, red to green, yellow to blue).
    """
    ours, theirs = _opponent(images), _opponent(reference)
    spread, wanted = (x.std((-2, -1), keepdim=True) for x in (ours, theirs))
    centre, goal = (x.mean((-2, -1), keepdim=True) for x in (ours, theirs))
    # At most three times the contrast, or an image of nearly one colour would show its noise.
    matched = (ours - centre) * (wanted / spread.clamp_min(1e-3)).clamp_max(3.0) + goal
    return torch.einsum("ij,bjhw->bihw", _opponent_axes(images).T, matched).clamp(0, 1)


_OPPONENT = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
    (1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)),
)
"""Rows are orthonormal: the transpose is the inverse."""


def _opponent(images: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", _opponent_axes(images), images)


def _opponent_axes(like: Tensor) -> Tensor:
    return constant(_OPPONENT, like.device, like.dtype)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; ``sigma`` in pixels."""
    side = min(2 * math.ceil(3 * sigma) + 1, 2 * images.shape[-1] - 1)
    blurred: Tensor = gaussian_blur2d(images, (side, side), (sigma, sigma))
    return blurred
