"""How fast the warp is."""

from typing import Literal

import torch

from experiments.bench.warp import closeness, drawn_faces, measure
from experiments.commands.bench._tables import machine, show, warp_table
from experiments.errors import UsageError


def bench_warp(
    size: int = 256,
    batches: tuple[int, ...] = (4, 16),
    repeats: int = 5,
    device: str = "",
    clock: Literal["wall", "cpu", ""] = "",
    out: str = "",
) -> None:
    """Time the warp: ours, exact and on a coarse grid, kornia's, the published program's, forward and backward.

    Args:
        size: side of the crops in pixels
        batches: batch sizes
        repeats: rounds, after one to warm up
        device: cpu or cuda (default: cuda if there is one)
        clock: cpu (time of this process; on a CPU the default) or wall
        out: folder for the tables in Markdown, CSV and LaTeX (default: they are only printed)

    Raises:
        UsageError: no batch size is given.

    Examples:
        warpmark bench-warp
    """
    if not batches:
        raise UsageError("--batches: found none, expected one batch size or more.")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    timed = clock or ("wall" if where.type == "cuda" else "cpu")
    faces = drawn_faces(max(batches), size, where)
    source = "torch.cuda.max_memory_allocated" if where.type == "cuda" else "allocations seen by torch.profiler"
    for batch in batches:
        title = (
            f"Warp of 68 landmarks at {size}×{size}, batch {batch}, drawn (SYNTHETIC) faces, {machine(where, timed)}"
        )
        table = warp_table(f"{title}; memory: {source}", measure(faces.first(batch), repeats, timed))
        show(table, out, f"warp-{batch}")
    print(closeness(faces))
