"""Time and memory of the warp: ours, exact and on a coarse grid, kornia's, and the published program's.

A pass goes forward from landmarks and photos to warped photos; or on to a loss, and back to the predicted landmarks.
Faces are drawn (crops of 256 × 256 pixels, 68 landmarks by default). Candidates take turns, so that others on the same
machine disturb them alike; CPU time hardly shows such others at all. What any warp must do is to read and write the
images once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_tps_transform, warp_image_tps
from torch import Tensor

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import collate
from datamodules.transforms import FaceTransform
from experiments.bench.measuring import READ, Clock, peak_bytes, wait
from experiments.bench.published.warp import published_warp
from lightning_modules.warping import GradientMSE, ImageLoss, PixelMSE, PolyharmonicSpline, crop_to_sampling
from lightning_modules.warping.fields.base import NODES

PUBLISHED: Final = "published (no gradient)"
KORNIA: Final = "kornia"
FAST: Final = f"ours, fast ({NODES}×{NODES}, the default)"
COPY: Final = "images read and written once"


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
class WarpCost:
    """What one way to warp takes.

    Attributes:
        forward: seconds of each round, from landmarks and photos to warped photos, without gradient.
        both: seconds of a forward and a backward pass to the predicted landmarks; None where no gradient gets there.
        bytes: most memory held by the longer of both.
    """

    forward: list[float]
    both: list[float] | None
    bytes: int


def candidates(faces: Faces) -> dict[str, Warp]:
    """Ways to warp by name, the published program's first."""
    return {
        PUBLISHED: publisheds(detached=True),
        "published, gradient let through": publisheds(detached=False),
        KORNIA: kornias,
        "ours, exact": ours(None),
        FAST: ours(NODES),
        "sampling alone (floor)": sampling_alone(faces),
    }


def measure(faces: Faces, rounds: int, clock: Clock) -> dict[str, WarpCost]:
    """Every candidate on the same faces, in turns; and :data:`COPY`.

    Args:
        faces: pairs.
        rounds: that are timed, after one that warms up.
        clock: that times them.
    """
    device, loss, warps = faces.photos.device, PixelMSE(), candidates(faces)
    target = torch.empty_like(faces.photos)
    forward: dict[str, Callable[[], object]] = {name: partial(warped, warp, faces) for name, warp in warps.items()}
    forward[COPY] = lambda: target.copy_(faces.photos)
    both = {name: partial(landmark_gradient, warp, faces, loss) for name, warp in warps.items() if name != PUBLISHED}
    once, twice = (_in_turns(calls, rounds, clock, device) for calls in (forward, both))
    return {
        name: WarpCost(once[name], twice.get(name), peak_bytes(both.get(name, forward[name]), device))
        for name in forward
    }


@torch.no_grad()
def warped(warp: Warp, faces: Faces) -> Tensor:
    """A forward pass."""
    return warp(faces)


def publisheds(detached: bool) -> Warp:
    """The published program's, per pixel and in float32."""
    return lambda faces: published_warp(
        faces.photos,
        faces.photo_landmarks * faces.photos.shape[-1],
        faces.predicted * faces.photos.shape[-1],
        detached,
    )


def _in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Clock, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each call, one a round; of the shortest, the mean of many."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            times = 20 if name == COPY else 1
            wait(device)
            begin = READ[clock]()
            for _ in range(times):
                call()
            wait(device)
            if round_:
                taken[name].append((READ[clock]() - begin) / times)
    return taken


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
