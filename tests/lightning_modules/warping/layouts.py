"""Plausible 68-point layouts and smooth images to warp."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _arc(count: int, centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float) -> Tensor:
    angle = torch.linspace(math.radians(start), math.radians(stop), count, dtype=torch.float64)
    return torch.stack([centre[0] + radii[0] * angle.cos(), centre[1] + radii[1] * angle.sin()], dim=-1)


def _line(count: int, start: tuple[float, float], stop: tuple[float, float]) -> Tensor:
    t = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return torch.tensor(start, dtype=torch.float64) * (1 - t) + torch.tensor(stop, dtype=torch.float64) * t


def mean_face() -> Tensor:
    """A frontal face of ellipses and lines in crop coordinates, float64, shape ``(68, 2)``."""
    ring = 360 - 360 / 6
    return torch.cat(
        [
            _arc(17, (0.5, 0.35), (0.38, 0.53), 178, 2),
            _arc(5, (0.32, 0.28), (0.1, 0.06), 190, 350),
            _arc(5, (0.68, 0.28), (0.1, 0.06), 190, 350),
            _line(4, (0.5, 0.34), (0.5, 0.53)),
            _arc(5, (0.5, 0.57), (0.07, 0.03), 170, 10),
            _arc(6, (0.33, 0.36), (0.06, 0.025), 180, 180 + ring),
            _arc(6, (0.67, 0.36), (0.06, 0.025), 180, 180 + ring),
            _arc(12, (0.5, 0.73), (0.14, 0.06), 180, 180 + 330),
            _arc(8, (0.5, 0.73), (0.1, 0.025), 180, 180 + 315),
        ]
    )


def random_faces(count: int, seed: int = 0, jitter: float = 0.006) -> Tensor:
    """The mean face, stretched, turned and jittered, float64, shape ``(count, 68, 2)``."""
    generator = torch.Generator().manual_seed(seed)
    linear = torch.eye(2, dtype=torch.float64) + 0.12 * torch.randn(
        count, 2, 2, generator=generator, dtype=torch.float64
    )
    noise = jitter * torch.randn(count, 68, 2, generator=generator, dtype=torch.float64)
    return (mean_face() - 0.5) @ linear + 0.5 + noise


def smooth_images(count: int, size: int, seed: int = 0, knots: int = 17, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth random colours in [0, 1], shape ``(count, 3, size, size)``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, knots, knots, generator=generator, dtype=dtype)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True).clamp(0, 1)
