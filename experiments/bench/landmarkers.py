"""How fast each landmarker finds landmarks, in its light and in its full form.

The full form has the structure of its authors' network (and loads its weights); run plainly, in float32 and torch's
own memory format, it costs what the authors' would, and everything else is a ratio to it. (``integral`` is ours.)
Variants take turns and each one's best call counts. Images are noise: no landmarker's time depends on what it sees.
"""

import copy
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
from rich.table import Table
from torch import Tensor

from experiments.bench.measuring import seconds
from experiments.checkpoints import build_landmarker, shipped_spec
from lightning_modules.landmarkers.base import Landmarker

Form = Literal["light", "full"]
Variant = Literal["eager", "channels_last", "compiled", "bf16"]
_PROFILE: Final[dict[Form, str]] = {"light": "quick", "full": "paper"}

Call = Callable[[Tensor], Any]


def build(name: str, form: Form) -> Landmarker:
    """A shipped landmarker with random weights, in evaluation mode.

    Raises:
        UsageError: there is no such landmarker.
    """
    spec = shipped_spec(name, _PROFILE[form])
    # Which weights makes no difference to time.
    spec["init_args"] |= {"pretrained": False} if "pretrained" in spec["init_args"] else {}
    return build_landmarker(spec).eval()


def variants(landmarker: Landmarker, wanted: Sequence[Variant], device: torch.device) -> dict[str, Call]:
    """Copies of the landmarker that run in several ways."""
    ways: dict[Variant, Callable[[], Call]] = {
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


def measure(
    name: str,
    forms: Sequence[Form],
    wanted: Sequence[Variant],
    compiled_forms: Sequence[Form],
    batches: Sequence[int],
    rounds: int,
    device: torch.device,
) -> Table:
    """A landmarker's table: a line for each form and variant, a column for each batch size.

    Args:
        name: of a shipped landmarker.
        forms: which forms of it.
        wanted: how they run.
        compiled_forms: which forms are compiled (full ones take minutes).
        batches: images in a call.
        rounds: how often each is called, after once to warm up.
        device: where.
    """
    # Landmarkers share code, and what is compiled of it for others counts towards torch's limit.
    torch.compiler.reset()
    landmarkers = {form: build(name, form) for form in forms}
    can_compile = device.type == "cuda" or bool(shutil.which("g++") or shutil.which("clang++"))
    calls: dict[tuple[str, str], Call] = {}
    for form, landmarker in landmarkers.items():
        possible = [v for v in wanted if v != "compiled" or (can_compile and form in compiled_forms)]
        calls |= {(form, variant): call for variant, call in variants(landmarker, possible, device).items()}
    sizes: dict[str, int] = {form: landmarker.image_size for form, landmarker in landmarkers.items()}
    ratios = "; in brackets: times as fast as the full form, eager" if ("full", "eager") in calls else ""
    table = Table("", title=f"{name}: ms an image{ratios}")
    found = {batch: milliseconds(calls, sizes, batch, rounds, device) for batch in batches}
    for batch in batches:
        table.add_column(f"batch {batch}", justify="right")
    for key in calls:
        entries = []
        for batch in batches:
            reference, taken = found[batch].get(("full", "eager")), found[batch][key]
            entries.append(f"{taken:.2f}{f' ({reference / taken:.1f})' if reference else ''}")
        table.add_row(f"{key[0]}, {sizes[key[0]]} px, {key[1]}", *entries)
    if "compiled" in wanted and not can_compile:
        table.caption = "compiled is left out: torch.compile needs a C++ compiler (g++ or clang++) on the CPU"
    return table
