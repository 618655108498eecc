"""How fast the landmarkers are."""

import logging

import torch
from rich.console import Console

from experiments.bench.landmarkers import Form, Variant, measure
from experiments.catalogue import names


def bench_landmarkers(
    landmarkers: tuple[str, ...] = (),
    forms: tuple[Form, ...] = ("light", "full"),
    variants: tuple[Variant, ...] = ("eager", "channels_last", "compiled", "bf16"),
    compiled_forms: tuple[Form, ...] = ("light",),
    batches: tuple[int, ...] = (1, 16),
    rounds: int = 3,
    device: str = "",
) -> None:
    """Time each landmarker, in its light and in its full form, in several variants.

    Args:
        landmarkers: which (default: all)
        forms: light (PROFILE=quick), full (PROFILE=paper)
        variants: eager, channels_last, compiled, bf16
        compiled_forms: forms to compile (full ones take minutes)
        batches: batch sizes
        rounds: calls of each, after one to warm up
        device: cpu or cuda (default: cuda if there is one)

    Raises:
        UsageError: an unknown landmarker; the message suggests the nearest.

    Examples:
        warpmark bench-landmarkers
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # It says among our tables that there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    console = Console()
    console.print(f"landmarkers on {where}, {torch.get_num_threads()} threads, best of {rounds} rounds")
    for name in landmarkers or names("landmarker"):
        console.print(measure(name, forms, variants, compiled_forms, batches, rounds, where))
