"""Landmarkers small enough to be differentiated by hand, batches to go with them, and steps down a loss."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import FaceBatch, TrainBatch
from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.methods import FaceMethod
from tests.lightning_modules.landmarkers.training import crops

SIZE = 32


class LinearLandmarker(Landmarker):
    """The mean face plus a linear function of the batch-normalised image, pooled to 4 × 4 pixels."""

    def __init__(self, size: int = SIZE, strength: float = 0.02, seed: int = 0) -> None:
        super().__init__()
        self.image_size = size
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(48, 136)
        self.linear.weight.data = torch.randn(136, 48, generator=generator) * strength / 7
        self.linear.bias.data = torch.randn(136, generator=generator) * strength / 7
        self.mean_face: Tensor
        self.register_buffer("mean_face", torch.tensor(MEAN_FACE))

    def forward(self, images: Tensor) -> LandmarkerOutput:
        pooled = F.adaptive_avg_pool2d(self.norm(images), 4).flatten(1)
        return LandmarkerOutput((self.mean_face + self.linear(pooled).view(-1, 68, 2)).unsqueeze(1))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        each = (output.landmarks - target).norm(dim=-1).mean(-1)
        weight = torch.ones_like(each) if weight is None else weight
        return (weight * each).sum() / weight.sum()


class TwoStages(LinearLandmarker):
    """Reads a first estimate and a better one off eight batch-normalised channels."""

    def __init__(self, strength: float = 0.02, hands_out: bool = True) -> None:
        super().__init__(strength=strength)
        del self.linear
        self.hands_out = hands_out
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.first, self.second = (nn.Linear(8 * 16, 136) for _ in range(2))
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=strength / 8)
            nn.init.zeros_(layer.bias)

    def features(self, images: Tensor) -> Tensor:
        return torch.relu(self.conv(self.norm(images)))

    def forward(self, images: Tensor) -> LandmarkerOutput:
        features = self.features(images)
        pooled = F.adaptive_avg_pool2d(features, 4).flatten(1)
        first = self.mean_face + self.first(pooled).view(-1, 68, 2)
        stages = torch.stack([first, first + self.second(pooled).view(-1, 68, 2)], dim=1)
        return LandmarkerOutput(stages, features=features if self.hands_out else None)

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        stages = [
            super(TwoStages, self).loss(LandmarkerOutput(s[:, None]), target, weight) for s in output.stages.unbind(1)
        ]
        return torch.stack(stages).mean()


class FollowsLight(Landmarker):
    """An equivariant landmarker without parameters: the mean face, moved by the centroid of the image's brightness."""

    def __init__(self, size: int = SIZE, bias: float = 0.0) -> None:
        super().__init__()
        self.image_size, self.bias = size, bias
        middle = (size - 1) / size / 2
        face = torch.tensor(MEAN_FACE, dtype=torch.float64)
        mirrored = torch.stack([2 * middle - face[:, 0], face[:, 1]], dim=-1)[list(FLIP_PERMUTATION)]
        self.symmetric = (face + mirrored) / 2 - torch.tensor([middle, 0.5], dtype=torch.float64)
        self.batches = 0

    def forward(self, images: Tensor) -> LandmarkerOutput:
        self.batches += 1
        weight = images.double().sum(1)
        place = torch.arange(self.image_size, dtype=torch.float64) / self.image_size
        total = weight.sum((1, 2))
        x, y = (weight.sum(1) @ place) / total, (weight.sum(2) @ place) / total
        landmarks = self.symmetric + torch.stack([x + self.bias, y], dim=-1)[:, None]
        return LandmarkerOutput(landmarks.unsqueeze(1))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError("it has nothing to train")


def smooth_images(count: int, size: int = SIZE, seed: int = 0) -> Tensor:
    """Images of a few broad waves, float64, on which bilinear sampling has hardly a kink."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) / size] * 2, indexing="ij")
    image = torch.full((count, 3, size, size), 0.5, dtype=torch.float64)
    for _ in range(4):
        wave, phase, height = (
            torch.rand(count, 3, n, 1, 1, generator=generator, dtype=torch.float64) for n in (2, 1, 1)
        )
        angle = 2 * torch.pi * (2 * wave[:, :, 0] * x + 2 * wave[:, :, 1] * y + phase[:, :, 0])
        image += 0.1 * height[:, :, 0] * angle.sin()
    return image


def shapes(count: int, seed: int = 0, spread: float = 0.02) -> Tensor:
    """Faces like the mean face, crop coordinates, float64, shape ``(count, 68, 2)``."""
    generator = torch.Generator().manual_seed(seed)
    face = torch.tensor(MEAN_FACE, dtype=torch.float64)
    return face + spread * torch.randn(count, 68, 2, generator=generator, dtype=torch.float64)


def face_batch(images: Tensor, landmarks: Tensor | None = None) -> FaceBatch:
    """Crops that are their own original images."""
    count = len(images)
    return FaceBatch(
        images=images,
        matrices=torch.eye(2, 3).expand(count, 2, 3),
        flipped=torch.zeros(count, dtype=torch.bool),
        landmarks=landmarks,
        indices=torch.arange(count),
        paths=[f"face{k}" for k in range(count)],
    )


def silent(method: FaceMethod) -> dict[str, float]:
    """Let a method log without a trainer; returns what it logs, as it does."""
    logged: dict[str, float] = {}

    def log(name: str, value: Any, **options: Any) -> None:
        logged[name] = float(torch.as_tensor(value).detach())

    method.log = log
    return logged


STYLES = ("photo", "painting")


def pair_batch(count: int = 4) -> TrainBatch:
    """Labelled photos and darker stylised faces, of broad waves."""
    photos, drawings = smooth_images(count).float(), smooth_images(count, seed=1).float()
    return TrainBatch(face_batch(photos, shapes(count).float()), face_batch(0.5 * drawings))


def stand_in_batch(count: int = 8) -> TrainBatch:
    """Drawn photos with their landmarks, and drawn paintings without."""
    photos, paintings = (SyntheticDataModule(style, train_count=1, test_count=count, size=48) for style in STYLES)
    return TrainBatch(face_batch(*crops(photos, SIZE, count)), face_batch(crops(paintings, SIZE, count)[0]))


def descend(loss: Callable[[], Tensor], network: nn.Module, rate: float, steps: int = 40) -> list[float]:
    """Steps of Adam down a loss over one network alone; what it was at each."""
    optimizer = torch.optim.Adam(network.parameters(), rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
