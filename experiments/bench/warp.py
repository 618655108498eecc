"""Time and memory of the warp, exact and on a coarse grid, as ratios to kornia's within one run.

A pass goes forward from landmarks and photos to warped photos and a loss, and back to the predicted landmarks. Faces
are drawn (crops of 256 × 256 pixels, 68 landmarks by default). Candidates take turns and each one's best pass counts,
so that others on the same machine disturb them alike; CPU time hardly shows such others at all.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

# Before torch is imported: the profiler says when it starts and stops, among our tables.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_tps_transform, warp_image_tps
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import collate
from datamodules.transforms import FaceTransform
from lightning_modules.warping import GradientMSE, ImageLoss, PixelMSE, PolyharmonicSpline, crop_to_sampling
from lightning_modules.warping.fields.base import NODES

FAST: Final = f"ours, fast ({NODES}×{NODES}, the default)"


@dataclass(frozen=True)
class Faces:
    """Pairs of a photo and a stylised face: images ``(B, 3, S, S)``, landmarks ``(B, 68, 2)`` in crop coordinates."""

    photos: Tensor
    photo_landmarks: Tensor
    stylised: Tensor
    predicted: Tensor

    def first(self, count: int) -> "Faces":
        """The first pairs, whose predicted landmarks want a gradient of their own."""
        predicted = self.predicted.detach()[:count].requires_grad_()
        return Faces(self.photos[:count], self.photo_landmarks[:count], self.stylised[:count], predicted)


Warp = Callable[[Faces], Tensor]


def drawn_faces(count: int, size: int, device: torch.device) -> Faces:
    """Drawn photos and caricatures; the caricatures' landmarks stand for predictions and want a gradient."""
    tensors = []
    for style in ("photo", "caricature"):
        drawn = SyntheticDataModule(style, train_count=count, size=size).train_faces()
        batch = collate([FaceTransform(size)(drawn.face(i)) for i in range(count)]).to(device)
        assert batch.landmarks is not None  # drawn faces have them all
        tensors += [batch.images, batch.landmarks]
    photos, photo_landmarks, stylised, predicted = tensors
    return Faces(photos, photo_landmarks, stylised, predicted.requires_grad_())


def ours(coarse: int | None) -> Warp:
    """The project's thin-plate spline, evaluated at ``coarse`` nodes across, or at every pixel."""
    return lambda faces: PolyharmonicSpline.fit(faces.predicted, faces.photo_landmarks).warp(faces.photos, coarse)


def kornias(faces: Faces) -> Tensor:
    """kornia's thin-plate warp between the same points. (Between landmarks it is another field than the textbook's.)"""
    size = faces.photos.shape[-1]
    centres = crop_to_sampling(faces.predicted, size)
    weights, affine = get_tps_transform(crop_to_sampling(faces.photo_landmarks, size), centres)
    warped: Tensor = warp_image_tps(faces.photos, centres, weights, affine, padding_mode="border")
    return warped


def sampling_alone(faces: Faces) -> Warp:
    """What any warp has to do: take colours from a field that is there already."""
    with torch.no_grad():
        spline = PolyharmonicSpline.fit(faces.predicted, faces.photo_landmarks)
        field = crop_to_sampling(spline.grid(faces.photos.shape[-1]), faces.photos.shape[-1])

    def warp(faces: Faces) -> Tensor:
        # Standing in for the fit, so that the backward pass has somewhere to go.
        moved = field + 0.0 * faces.predicted.sum()
        return F.grid_sample(faces.photos, moved, padding_mode="border", align_corners=False)

    return warp


def landmark_gradient(warp: Warp, faces: Faces, loss: ImageLoss) -> Tensor:
    """A forward and backward pass; the gradient with respect to the predicted landmarks."""
    return torch.autograd.grad(loss(warp(faces), faces.stylised).mean(), faces.predicted)[0]


@dataclass(frozen=True)
class Seconds:
    """How long one call takes, by the clock on the wall and in time of all CPU cores."""

    wall: float
    cpu: float


def seconds(work: Callable[[], object], device: torch.device) -> Seconds:
    """Time one call."""
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    _wait(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most memory one call holds at a time beyond what was held before: what torch's allocator hands out."""
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(faces: Faces, repeats: int) -> Table:
    """Every candidate on the same faces."""
    device, loss = faces.photos.device, PixelMSE()
    warps = {
        "kornia": kornias,
        "ours, exact": ours(None),
        FAST: ours(NODES),
        "sampling alone (floor)": sampling_alone(faces),
    }
    passes = {name: partial(landmark_gradient, warp, faces, loss) for name, warp in warps.items()}
    rounds = [{name: seconds(work, device) for name, work in passes.items()} for _ in range(repeats + 1)][1:]
    wall = {name: min(one[name].wall for one in rounds) for name in passes}
    cpu = {name: min(one[name].cpu for one in rounds) for name in passes}
    memory = {name: peak_bytes(work, device) for name, work in passes.items()}
    table = Table("", title=f"batch {len(faces.photos)}, forward and backward; in brackets: times kornia's")
    for column in ("ms (speed)", "CPU ms (speed)", "peak MiB (memory)"):
        table.add_column(column, justify="right")
    for name in passes:
        times = (f"{clock[name] * 1e3:.1f} ({clock['kornia'] / clock[name]:.1f})" for clock in (wall, cpu))
        table.add_row(name, *times, f"{memory[name] / 2**20:.1f} ({memory[name] / memory['kornia']:.3f})")
    if device.type == "cuda":
        target = torch.empty_like(faces.photos)
        copy = min(seconds(lambda: target.copy_(faces.photos), device).wall for _ in range(10 * repeats))
        table.caption = f"fast takes {wall[FAST] / copy:.0f} times as long as reading and writing the images once"
    return table


def closeness(faces: Faces) -> str:
    """How far the fast path is from the exact one."""
    with torch.no_grad():
        difference = (ours(NODES)(faces) - ours(None)(faces)).abs().mean()
    cosines = []
    for loss in (PixelMSE(), GradientMSE()):
        fast, exact = (landmark_gradient(warp, faces, loss).flatten() for warp in (ours(NODES), ours(None)))
        cosines.append(float(torch.cosine_similarity(fast, exact, dim=0)))
    return (
        f"fast against exact: mean absolute pixel difference {difference:.5f} (of 1); gradient cosine {cosines[0]:.5f} "
        f"under the pixel loss, {cosines[1]:.5f} under the Sobel loss"
    )
