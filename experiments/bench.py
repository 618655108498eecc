"""``make bench``: how fast the warp is, exact and on a coarse grid, against kornia's, as ratios within one run."""

import argparse
import time
from collections.abc import Callable

import torch
from kornia.geometry.transform import get_tps_transform, warp_image_tps
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.warping import PolyharmonicSpline

Warp = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(coarse: int | None) -> Warp:
    """The project's thin-plate spline, evaluated at ``coarse`` nodes across, or at every pixel."""
    return lambda stylised, photo, image: PolyharmonicSpline.fit(stylised, photo).warp(image, coarse)


def kornias(stylised: Tensor, photo: Tensor, image: Tensor) -> Tensor:
    """kornia's thin-plate warp between the same points (in its frame, [-1, 1])."""
    source, target = 2 * photo - 1, 2 * stylised - 1
    weights, affine = get_tps_transform(target, source)
    warped: Tensor = warp_image_tps(image, target, weights, affine)
    return warped


def seconds(warp: Warp, batch: int, size: int, repeats: int, device: torch.device) -> float:
    """Best time of a forward and backward pass."""
    generator = torch.Generator().manual_seed(0)
    face = torch.tensor(MEAN_FACE).expand(batch, -1, -1)
    photo = (face + 0.01 * torch.randn(face.shape, generator=generator)).to(device)
    stylised = (face + 0.02 * torch.randn(face.shape, generator=generator)).to(device).requires_grad_()
    image = torch.rand(batch, 3, size, size, generator=generator).to(device)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        torch.autograd.grad(warp(stylised, photo, image).square().mean(), stylised)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    table = Table(
        title=f"warp of 68 landmarks at {options.size}×{options.size}, forward and backward, {options.device}"
    )
    for column in ("batch", "kornia ms", "ours, exact", "ours, 65×65 grid (default)"):
        table.add_column(column, justify="right")
    for batch in (4, 16):
        measured = [
            seconds(warp, batch, options.size, options.repeats, torch.device(options.device))
            for warp in (kornias, ours(None), ours(65))
        ]
        reference, exact, fast = measured
        cells = [f"{t * 1e3:.0f} ms ({reference / t:.1f}× kornia's speed)" for t in (exact, fast)]
        table.add_row(str(batch), f"{reference * 1e3:.0f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
