"""The published program's phases, step by step: what a step does, and how long steps take."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import kornia
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.faces import FloatArray, landmark_box
from datamodules.ibug68 import OUTER_EYE_CORNERS
from experiments.bench.measuring import READ, Clock, Lap, wait
from experiments.bench.published.faces import Crop, PublishedFaces, Record
from experiments.bench.published.warp import published_warp
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput

STAGES: Final = (0.2, 0.3, 0.5)
"""How much each stage of SLPT counts in the loss."""
_PIXELS: Final = 255.0
"""What its warper phase multiplies crop coordinates by (not the crop's side)."""


def alignment_loss(estimates: Tensor, target: Tensor) -> Tensor:
    """Mean distance over the distance of the outer eye corners; over layers, landmarks and faces.

    Args:
        estimates: of a stage's layers, shape ``(B, L, 68, 2)``.
        target: shape ``(B, 68, 2)``, in the same coordinates.
    """
    left, right = OUTER_EYE_CORNERS
    apart = (estimates - target[:, None]).norm(dim=3).mean(2)
    loss: Tensor = (apart / (target[:, left] - target[:, right]).norm(dim=1)[:, None]).mean()
    return loss


def gradient_loss(warped: Tensor, stylised: Tensor) -> Tensor:
    """Mean squared difference of Sobel's gradients of grey images; 4 times as large in [-1, 1] as in [0, 1]."""
    first, second = (kornia.filters.sobel(kornia.color.rgb_to_grayscale(images)) for images in (warped, stylised))
    difference: Tensor = F.mse_loss(first, second)
    return difference


class PublishedLoop:
    """Its phases on a network of ours, each with the loaders and the optimizer that it has there.

    Args:
        landmarker: an SLPT. Crops come in [-1, 1] and go in as ours, in [0, 1].
        photos: labelled.
        frontal: places of the frontal ones, which the warper phase draws.
        target: stylised faces.
        device: where the network is.
        batch: faces, or pairs, of a step.
        clock: that times it.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        photos: Sequence[Record],
        frontal: Sequence[int],
        target: Sequence[Record],
        device: torch.device,
        batch: int = 4,
        clock: Clock = "wall",
    ) -> None:
        self.landmarker, self.device, self.batch, self.clock = landmarker, device, batch, READ[clock]
        self.photos, self.target = photos, target
        self.frontal = [photos[i] for i in frontal]
        rates = {"pretraining": 1e-3, "warper": 1e-4, "proximal": 1e-3}
        self.adams = {name: torch.optim.Adam(landmarker.parameters(), lr=rate) for name, rate in rates.items()}

    # --- what a step does ---------------------------------------------------------------------------------------

    def estimates(self, images: Tensor) -> LandmarkerOutput:
        """The network's output for crops in [-1, 1]."""
        output: LandmarkerOutput = self.landmarker(images * 0.5 + 0.5)
        return output

    def label_loss(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """The loss of pretraining and of the proximal phase."""
        output = self.estimates(images)
        assert output.intermediate is not None, "an SLPT's"
        stages = output.intermediate.unbind(1)
        return torch.stack([w * alignment_loss(one, landmarks) for w, one in zip(STAGES, stages, strict=True)]).sum()

    def warp_loss(self, photos: Tensor, landmarks: Tensor, stylised: Tensor) -> Tensor:
        """The warper phase's: photos warped by the landmarks that are predicted on the stylised faces."""
        predicted = self.estimates(stylised).landmarks
        warped = published_warp(photos, landmarks * _PIXELS, predicted * _PIXELS)
        return gradient_loss(warped, stylised)

    # --- phases -------------------------------------------------------------------------------------------------

    def pretraining(self, steps: int, warm: int = 0) -> Lap:
        """Steps on photos and their labels, after ``warm`` that are not timed."""
        return self._on_labels("pretraining", self.photos, steps, warm)

    def proximal(self, steps: int, pseudo: Sequence[FloatArray], warm: int = 0) -> Lap:
        """Steps on photos and stylised faces in one shuffled set; ``pseudo``: the latter's landmarks, image pixels."""
        labelled = [
            replace(record, landmarks=points, box=landmark_box(points))
            for record, points in zip(self.target, pseudo, strict=True)
        ]
        return self._on_labels("proximal", [*self.photos, *labelled], steps, warm)

    def warper(self, steps: int, warm: int = 0) -> Lap:
        """Steps on pairs of a frontal photo and a stylised face, plain crops."""
        pairs = zip(self._batches(self.frontal), self._batches(self.target), strict=False)

        def to_device(pair: tuple[Crop, Crop]) -> tuple[Tensor, Tensor, Tensor]:
            photos, stylised = pair
            return self._on_device(photos.image), self._on_device(photos.landmarks), self._on_device(stylised.image)

        return self._steps("warper", (to_device(pair) for pair in pairs), self.warp_loss, steps, warm)

    @torch.no_grad()
    def pseudo_landmarks(self, folder: Path, count: int, kept: int = 1) -> Lap:
        """Find the target's landmarks and write a file of each, one image at a time.

        Args:
            folder: where the files go.
            count: how many faces get landmarks.
            kept: faces that a step of the loader decodes and the network sees for each that gets landmarks: 1; or 4, as
                its loader is written (a shuffled one with batches of 4, of which only the first face is kept).
        """
        self.landmarker.eval()
        batches = self._batches(self.target, kept)
        begin, waiting = self._now(), 0.0
        for _ in range(count):
            asked = self._now()
            crop = next(batches)
            images = self._on_device(crop.image)
            waiting += self._now() - asked
            found = self.estimates(images).landmarks[0].cpu().numpy() * self.landmarker.image_size
            matrix = np.asarray(crop.matrix[0])
            pixels = (found - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2].T)
            np.save(folder / f"{Path(crop.path[0]).name}.npy", pixels)
        return Lap(count, self._now() - begin, waiting)

    # --- how it goes through them -------------------------------------------------------------------------------

    def _on_labels(self, phase: str, records: Sequence[Record], steps: int, warm: int) -> Lap:
        batches = self._batches(records, varied=True)
        on_device = ((self._on_device(crop.image), self._on_device(crop.landmarks)) for crop in batches)
        return self._steps(phase, on_device, self.label_loss, steps, warm)

    def _batches(self, records: Sequence[Record], batch: int = 0, varied: bool = False) -> Iterator[Crop]:
        """Epoch after epoch, in the training process."""
        faces = PublishedFaces(records, self.landmarker.image_size, varied)
        loader: DataLoader[Crop] = DataLoader(faces, batch or self.batch, shuffle=True, drop_last=True)
        if not len(loader):
            raise ValueError(f"{len(records)} faces are fewer than the {batch or self.batch} of a batch.")
        while True:
            yield from loader

    def _steps(self, phase: str, batches: Iterator[Any], loss_of: Callable[..., Tensor], steps: int, warm: int) -> Lap:
        self.landmarker.train()
        adam, begin, waiting = self.adams[phase], 0.0, 0.0
        for step in range(-warm, steps):
            if step <= 0:
                begin, waiting = self._now(), 0.0
            asked = self._now()
            batch = next(batches)
            waiting += self._now() - asked
            adam.zero_grad()
            loss = loss_of(*batch)
            f"loss {float(loss.detach()):.8f}"  # it prints every step's
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        return Lap(steps * self.batch, self._now() - begin, waiting)

    def _now(self) -> float:
        wait(self.device)
        return self.clock()

    def _on_device(self, values: Any) -> Tensor:
        return torch.as_tensor(values).to(self.device)
