"""The amplitude swap against numpy's full, shifted spectrum, as the paper and its program write it."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_modules.augment.amplitude import swap_amplitude

Array = npt.NDArray[np.float64]


def images(count: int, size: int, seed: int) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_numpy(photo: Array, target: Array, reach: int) -> Array:
    """One image ``(3, S, S)``: the centred square of ``2 reach + 1`` amplitudes is the target's."""
    ours = np.fft.fftshift(np.fft.fft2(photo), axes=(-2, -1))
    theirs = np.fft.fftshift(np.fft.fft2(target), axes=(-2, -1))
    amplitude, phase, middle = np.abs(ours), np.angle(ours), photo.shape[-1] // 2
    window = slice(middle - reach, middle + reach + 1)
    amplitude[:, window, window] = np.abs(theirs)[:, window, window]
    mixed = np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(-2, -1))
    back = np.fft.ifft2(mixed)
    assert np.abs(back.imag).max() < 1e-12
    return np.asarray(back.real)


@pytest.mark.parametrize(
    ("size", "beta", "reach"), [(100, 0.01, 1), (64, 0.05, 3), (64, 0.09, 5), (33, 0.1, 3), (20, 0.01, 0), (8, 0.4, 3)]
)
def test_against_numpy(size: int, beta: float, reach: int) -> None:
    photos, targets = images(2, size, 1), images(2, size, 2)
    swapped = swap_amplitude(photos, targets, beta)
    for found, photo, target in zip(swapped, photos, targets, strict=True):
        np.testing.assert_allclose(found.numpy(), with_numpy(photo.numpy(), target.numpy(), reach), atol=1e-12)


def test_the_whole_window_leaves_nothing_but_the_phase() -> None:
    photos, targets = images(2, 24, 1), images(2, 24, 2)
    found = torch.fft.fft2(swap_amplitude(photos, targets, 0.5))
    torch.testing.assert_close(found.abs(), torch.fft.fft2(targets).abs())
    ours = torch.fft.fft2(photos)
    torch.testing.assert_close(found / found.abs(), ours / ours.abs())


def test_each_photo_may_have_its_own_window() -> None:
    photos, targets, betas = images(3, 32, 1), images(3, 32, 2), [0.0, 0.05, 0.2]
    together = swap_amplitude(photos, targets, torch.tensor(betas))
    alone = torch.cat([swap_amplitude(photos[k : k + 1], targets[k : k + 1], b) for k, b in enumerate(betas)])
    torch.testing.assert_close(together, alone)


def test_black_photos_and_half_precision() -> None:
    """Where there is no phase it is zero; the transform runs in float32 under autocast too."""
    grey = torch.full((1, 3, 16, 16), 0.25)
    torch.testing.assert_close(swap_amplitude(torch.zeros_like(grey), grey, 0.1), grey)
    photos, targets = images(1, 16, 1).float(), images(1, 16, 2).float()
    expected = swap_amplitude(photos, targets, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(swap_amplitude(photos, targets, 0.1), expected)
    assert swap_amplitude(photos.bfloat16(), targets.bfloat16(), 0.1).dtype == torch.bfloat16
