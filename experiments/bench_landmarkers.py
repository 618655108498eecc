"""``make bench``, second part: how fast each landmarker finds landmarks, in its light and in its full form.

The full form has the structure of its authors' network (and loads its weights); run plainly, in float32 and torch's
own memory format, it is what the authors' would cost, and what everything else is a ratio to. (``integral`` is ours.)
Variants take turns and each one's best call counts. Images are noise: no landmarker's time depends on what it sees.
"""

import argparse
import contextlib
import copy
import logging
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table
from torch import Tensor

from experiments.bench import seconds
from experiments.catalogue import CONFIGS, names
from experiments.errors import UsageError, nearest
from lightning_modules.landmarkers.base import Landmarker

FORMS: Final = ("light", "full")
VARIANTS: Final = ("eager", "channels_last", "compiled", "bf16")

Call = Callable[[Tensor], Any]


def build(name: str, form: str) -> Landmarker:
    """A shipped landmarker with random weights, in evaluation mode: ``light`` (PROFILE=quick) or ``full``.

    Raises:
        UsageError: there is no such landmarker.
    """
    if name not in names("landmarker"):
        raise UsageError(f"LANDMARKER={name} is not known. {nearest(name, names('landmarker'))}")
    parser = ArgumentParser()
    parser.add_subclass_arguments(Landmarker, "model.init_args.landmarker", required=True)
    parser.add_argument("--run.landmarker", type=str)
    parser.add_argument("--pretraining.learning_rate", type=float)
    parser.add_argument("--config", action="config")
    files = [f"{name}.yaml", *([f"{name}.quick.yaml"] if form == "light" else [])]
    options = [f"--config={CONFIGS / 'landmarkers' / file}" for file in files]
    first = parser.parse_args(options)["model.init_args.landmarker"]
    # Which weights makes no difference to time.
    if "pretrained" in first["init_args"]:
        options.append("--model.init_args.landmarker.init_args.pretrained=false")
    landmarker: Landmarker = parser.instantiate(parser.parse_args(options))["model.init_args.landmarker"]
    return landmarker.eval()


def variants(landmarker: Landmarker, wanted: list[str], device: torch.device) -> dict[str, Call]:
    """Copies of the landmarker that run in several ways."""
    ways: dict[str, Callable[[], Call]] = {
        "eager": lambda: _in_format(landmarker, device, torch.contiguous_format),
        "channels_last": lambda: _in_format(landmarker, device, torch.channels_last),
        # For each batch size by itself: a program for sizes to come is slower than none.
        "compiled": lambda: torch.compile(_in_format(landmarker, device, torch.channels_last), dynamic=False),
        "bf16": lambda: partial(_in_bf16, _in_format(landmarker, device, torch.channels_last), device),
    }
    return {name: ways[name]() for name in wanted}


def _in_format(landmarker: Landmarker, device: torch.device, memory_format: torch.memory_format) -> Landmarker:
    copied: Any = copy.deepcopy(landmarker)
    if hasattr(copied, "channels_last"):
        copied.channels_last = memory_format == torch.channels_last
    return copied.to(device, memory_format=memory_format)  # type: ignore[no-any-return]


def _in_bf16(call: Call, device: torch.device, images: Tensor) -> Any:
    with torch.autocast(device.type, torch.bfloat16):
        return call(images)


@torch.inference_mode()
def milliseconds(
    calls: Mapping[tuple[str, str], Call], sizes: Mapping[str, int], batch: int, rounds: int, device: torch.device
) -> dict[tuple[str, str], float]:
    """Milliseconds an image, by the clock: the best of ``rounds``, after one that warms up (and compiles).

    Args:
        calls: by form and variant.
        sizes: side of each form's images.
        batch: images in a call.
        rounds: how often.
        device: where they run.
    """
    best = dict.fromkeys(calls, math.inf)
    for round_ in range(rounds + 1):
        for key, call in calls.items():
            images = torch.rand(batch, 3, sizes[key[0]], sizes[key[0]], device=device)
            taken = seconds(lambda call=call, images=images: call(images), device).wall  # type: ignore[misc]
            if round_:
                best[key] = min(best[key], taken)
    return {key: 1e3 * value / batch for key, value in best.items()}


def measure(name: str, options: argparse.Namespace) -> Table:
    """A landmarker's table: a line for each form, batch size and variant."""
    # Landmarkers share code, and what is compiled of it for others counts towards torch's limit.
    torch.compiler.reset()
    device = torch.device(options.device)
    landmarkers = {form: build(name, form) for form in options.forms}
    can_compile = device.type == "cuda" or shutil.which("g++") or shutil.which("clang++")
    calls: dict[tuple[str, str], Call] = {}
    for form, landmarker in landmarkers.items():
        wanted = [v for v in options.variants if v != "compiled" or (can_compile and form in options.compile)]
        calls |= {(form, variant): call for variant, call in variants(landmarker, wanted, device).items()}
    sizes = {form: landmarker.image_size for form, landmarker in landmarkers.items()}
    ratios = "; in brackets: times as fast as the full form, eager" if ("full", "eager") in calls else ""
    table = Table("", title=f"{name}: ms an image{ratios}")
    found = {batch: milliseconds(calls, sizes, batch, options.rounds, device) for batch in options.batches}
    for batch in options.batches:
        table.add_column(f"batch {batch}", justify="right")
    for key in calls:
        entries = []
        for batch in options.batches:
            reference = found[batch].get(("full", "eager"))
            ratio = f" ({reference / found[batch][key]:.1f})" if reference else ""
            entries.append(f"{found[batch][key]:.2f}{ratio}")
        form, variant = key
        table.add_row(f"{form}, {sizes[form]} px, {variant}", *entries)
    if "compiled" in options.variants and not can_compile:
        table.caption = "compiled is left out: torch.compile needs a C++ compiler (g++ or clang++) on the CPU"
    return table


def main(arguments: list[str] | None = None) -> None:
    """Print a table for each landmarker."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_landmarkers", description=__doc__)
    parser.add_argument("--landmarkers", nargs="+", default=names("landmarker"))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--compile", nargs="*", choices=FORMS, default=["light"], help="forms to compile (full ones take minutes)"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    # It says among our tables that there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    console = Console()
    console.print(
        f"landmarkers on {options.device}, {torch.get_num_threads()} threads, best of {options.rounds} rounds"
    )
    try:
        for name in options.landmarkers:
            console.print(measure(name, options))
    except UsageError as error:
        with contextlib.suppress(BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
