"""The target's low frequencies on photos: the Fourier domain adaptation of an image.

Source: Yang, Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR 2020, eq. 1 to 4.
"""

import torch
from torch import Tensor

from lightning_modules.devices import sent
from lightning_modules.landmarkers.base import full_precision


def swap_amplitude(photos: Tensor, targets: Tensor, beta: float | Tensor) -> Tensor:
    """Give photos the low-frequency amplitudes of other images; phase and higher frequencies stay theirs.

    The window is the paper's: frequencies from -βS to βS in x and in y, S the image's side, so β is half the window's
    side over the image's. As in the published program βS is rounded down. At β = 0 the photo stays itself (the paper;
    the published program then swaps the mean colour), at β ≥ 0.5 the window is the whole spectrum.

    Args:
        photos: raw pixels, shape ``(B, C, S, S)``.
        targets: one for each photo, same shape.
        beta: one for all photos, or one each, shape ``(B,)``.

    Returns:
        Shape ``(B, C, S, S)`` in the photos' floating type. As in the published program it is not clamped: values may
        leave [0, 1].
    """
    with full_precision(photos):
        dtype = torch.promote_types(photos.dtype, torch.float32)
        spectrum, other = torch.fft.rfft2(photos.to(dtype)), torch.fft.rfft2(targets.to(dtype))
        height, width = photos.shape[-2:]
        shares = beta.double() if isinstance(beta, Tensor) else torch.full((), beta, dtype=torch.float64)
        inside = _window(sent(shares.reshape(-1, 1), photos.device), height, width)
        amplitude = torch.where(inside, other.abs(), spectrum.abs())
        mixed = torch.polar(amplitude, spectrum.angle())
        swapped: Tensor = torch.fft.irfft2(mixed, s=(height, width)).to(photos.dtype)
        return swapped


def _window(beta: Tensor, height: int, width: int) -> Tensor:
    """Which frequencies of ``rfft2`` lie in the window, shape ``(B or 1, 1, height, width // 2 + 1)``."""
    reach = (beta * min(height, width)).floor()
    down = torch.fft.fftfreq(height, 1 / height, device=beta.device).abs()
    across = torch.fft.rfftfreq(width, 1 / width, device=beta.device)
    rows, columns = (down <= reach) & (beta > 0), across <= reach
    window: Tensor = rows[:, :, None] & columns[:, None, :]
    return window[:, None]
