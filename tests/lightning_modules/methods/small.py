"""Landmarkers small enough to be differentiated by hand, and batches to go with them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.faces import FaceBatch
from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.methods import FaceMethod

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
