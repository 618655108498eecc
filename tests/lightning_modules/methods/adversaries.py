"""For the tests of adversarial methods: a landmarker with a feature map and two stages, and runs cut in two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from callbacks.exact_resume import ExactResume
from datamodules.datasets import SyntheticDataModule
from datamodules.faces import TrainBatch
from lightning_modules.landmarkers.base import LandmarkerOutput
from lightning_modules.methods import FaceMethod
from tests.lightning_modules.landmarkers.training import crops
from tests.lightning_modules.methods.running import fit
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


def whole_and_resumed(
    make: Callable[[], FaceMethod], root: Path, epochs: int = 3, cut: int = 1
) -> tuple[FaceMethod, FaceMethod]:
    """A method after a whole run, and after one that stopped after ``cut`` epochs and went on from a file."""

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == cut - 1

    methods: list[Any] = []
    runs = [("whole", [], None), ("cut", [Stop()], None), ("cut", [], root / "cut/last.ckpt")]
    for name, callbacks, resume in runs:
        torch.manual_seed(5)
        saved = ModelCheckpoint(root / name, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        methods.append(make())
        fit(methods[-1], root / name, epochs, ExactResume(), saved, *callbacks, resume=resume)
    whole, _, resumed = methods
    return whole, resumed
