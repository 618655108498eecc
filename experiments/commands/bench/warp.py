"""How fast the warp is."""

import torch
from rich.console import Console

from experiments.bench.warp import closeness, drawn_faces, measure
from experiments.errors import UsageError


def bench_warp(size: int = 256, batches: tuple[int, ...] = (4, 16), repeats: int = 5, device: str = "") -> None:
    """Time the warp, exact and on a coarse grid, against kornia's, forward and backward.

    Args:
        size: side of the crops in pixels
        batches: batch sizes
        repeats: rounds, after one to warm up
        device: cpu or cuda (default: cuda if there is one)

    Raises:
        UsageError: no batch size is given.
    """
    if not batches:
        raise UsageError("--batches: found none, expected one batch size or more.")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    faces, console = drawn_faces(max(batches), size, where), Console()
    source = "torch.cuda.max_memory_allocated" if where.type == "cuda" else "allocations seen by torch.profiler"
    console.print(
        f"warp of 68 landmarks at {size}×{size} on {where}, {torch.get_num_threads()} threads, drawn (SYNTHETIC) "
        f"faces; best of {repeats} rounds; memory: {source}, inputs aside"
    )
    for batch in batches:
        console.print(measure(faces.first(batch), repeats))
    console.print(closeness(faces))
