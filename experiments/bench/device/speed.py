"""What a device can do, and how much of it training a network takes."""

import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from experiments.bench.device.findings import Finding
from experiments.bench.landmarkers import Form, build
from experiments.bench.measuring import peak_bytes, seconds
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.replay import EAGER_PASSES, Passes


def machine_findings(device: torch.device) -> Iterator[Finding]:
    """Its names, how fast it copies, and how fast it multiplies in bf16."""
    cuda = device.type == "cuda"
    yield Finding("device", torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads")
    yield Finding("Python, torch, CUDA", f"{platform.python_version()}, {torch.__version__}, {torch.version.cuda}")
    source = torch.empty(2**29 if cuda else 2**25, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    taken = _best(lambda: target.copy_(source), device, 10)
    yield Finding("copy, read and written", f"{2 * len(source) / taken / 1e9:.0f} GB/s")
    side = 8192 if cuda else 512
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    taken = _best(lambda: a @ b, device, 5)
    yield Finding(f"bf16 matrix product, {side} a side", f"{2 * side**3 / taken / 1e12:.2f} TFLOP/s")


def network_findings(
    device: torch.device, form: Form, batches: Sequence[int], wanted: float | None = None
) -> Iterator[Finding]:
    """SLPT forward, backward and Adam's step in bf16: images a second, share of time computing, memory.

    Args:
        device: where.
        form: light or full.
        batches: sizes.
        wanted: images a second that one of them should reach.
    """
    cuda = device.type == "cuda"
    landmarker: Any = build("slpt", form).to(device).train()
    adam = torch.optim.Adam(landmarker.parameters(), lr=1e-5, fused=cuda)
    size, best = landmarker.image_size, 0.0
    for batch in batches:
        images = torch.rand(batch, 3, size, size, device=device)
        target = 0.2 + 0.6 * torch.rand(batch, 68, 2, device=device)
        for recorded in (False, True) if cuda else (False,):
            what = f"SLPT {form}, {size} px, batch {batch}{', as CUDA graphs' if recorded else ''}"
            passes = Passes(landmarker)
            step = _step(landmarker, passes if recorded else landmarker, adam, images, target, device)
            try:
                rate = batch / _best(step, device, 5)
                # What a graph computes with is its own, and not counted.
                memory = "" if recorded else f", {peak_bytes(step, device) / 2**20:.0f} MiB"
            except torch.cuda.OutOfMemoryError:
                yield Finding(what, "does not fit in memory")
                continue
            if recorded and not passes.recorded:
                yield Finding(what, "could not be recorded (the log says why)")
                continue
            best = max(best, rate)
            busy = f", computing {100 * _busy(step, batch / rate):.0f} % of the time" if cuda else ""
            yield Finding(what, f"{rate:.1f} images/s{busy}{memory}")
    yield Finding("SLPT, most images/s", f"{best:.1f}", None if wanted is None else best >= wanted)


def _step(
    landmarker: Landmarker,
    forward: Callable[[Tensor], LandmarkerOutput],
    adam: torch.optim.Optimizer,
    images: Tensor,
    target: Tensor,
    device: torch.device,
) -> Callable[[], None]:
    def step() -> None:
        adam.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = landmarker.loss(forward(images), target)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    return step


def _best(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Seconds of the fastest call, after those that warm up, and those until passes are recorded."""
    warm = EAGER_PASSES + 2
    return min([seconds(work, device).wall for _ in range(warm + times)][warm:])


def _busy(step: Callable[[], None], taken: float) -> float:
    """Share of a step's time in which kernels run: theirs, as the profiler sees it, over the step's without one."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        step()
        torch.cuda.synchronize()
    kernels = sum(event.self_device_time_total for event in recorded.key_averages())
    return min(1.0, float(kernels) / 1e6 / taken)
