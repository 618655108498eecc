"""Image gradients and means of one image in numpy and scipy, written apart from what they check."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

Array = npt.NDArray[np.float64]


def planes(image: Tensor, grey: bool) -> list[Array]:
    """The channels of ``(3, S, S)``, or their luma by ITU-R BT.601."""
    channels = [channel.astype(np.float64) for channel in image.detach().numpy()]
    return [0.299 * channels[0] + 0.587 * channels[1] + 0.114 * channels[2]] if grey else channels


def slope(plane: Array, axis: int, mode: str = "sobel") -> Array:
    """Derivative along an axis (0 is y), borders repeated."""
    if mode == "sobel":
        return np.asarray(ndimage.sobel(plane, axis=axis, mode="nearest") / 8)
    return np.asarray(ndimage.correlate1d(plane, [-0.5, 0.0, 0.5], axis=axis, mode="nearest"))


def sobel(plane: Array, eps: float = 1e-6) -> Array:
    return np.asarray(np.sqrt(slope(plane, 0) ** 2 + slope(plane, 1) ** 2 + eps))


def laplacian(plane: Array, side: int = 3) -> Array:
    kernel = np.ones((side, side))
    kernel[side // 2, side // 2] = 1 - side**2
    return np.asarray(ndimage.correlate(plane, kernel / np.abs(kernel).sum(), mode="mirror"))


def canny(plane: Array, low: float = 0.1, high: float = 0.2) -> Array:
    """Magnitude on the edges: blur, slope, thinning across the edge, two thresholds joined by connected regions."""
    blurred = ndimage.gaussian_filter(plane, 1.0, mode="mirror", radius=2)
    dx, dy = 8 * slope(blurred, 1), 8 * slope(blurred, 0)
    magnitude = np.sqrt(dx**2 + dy**2 + 1e-6)
    around = np.pad(magnitude, 1, constant_values=1e-3)
    octant = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(int)
    step_y, step_x = np.round(np.sin(octant * np.pi / 4)).astype(int), np.round(np.cos(octant * np.pi / 4)).astype(int)
    y, x = np.indices(plane.shape) + 1
    thin = (magnitude > around[y + step_y, x + step_x]) & (magnitude > around[y - step_y, x - step_x])
    regions, _ = ndimage.label(thin & (magnitude > low), structure=np.ones((3, 3)))
    strong = np.unique(regions[thin & (magnitude > high)])
    return np.where(np.isin(regions, strong[strong > 0]), magnitude, 0.0)


def mean(values: Array, mask: Array) -> float:
    return float((values * mask).sum() / mask.sum())


def halve(plane: Array) -> Array:
    height, width = (side // 2 * 2 for side in plane.shape)
    even = plane[:height, :width]
    return np.asarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)
