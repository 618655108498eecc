"""A landmarker with a feature map and two stages, and what it learns from."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import TrainBatch
from lightning_modules.landmarkers.base import LandmarkerOutput
from tests.lightning_modules.landmarkers.training import crops
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, smooth_images

STYLES = ("photo", "painting")


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
