"""A few steps of training, on drawn and on real faces, for the tests of any landmarker."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from datamodules.base import FaceDataModule
from datamodules.datasets import FolderDataModule, SyntheticDataModule
from datamodules.faces import collate
from datamodules.transforms import FaceTransform
from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.losses import interocular_loss

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "data" / "photos"
"""Real faces; where the folder is absent, tests that need them are skipped."""


def rand(*shape: int) -> Tensor:
    """The same numbers in [0, 1) each time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def configured(*files: str, **overrides: Any) -> Landmarker:
    """The landmarker of the shipped configurations ``files``, with some arguments set otherwise."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(Landmarker, "model.init_args.landmarker", required=True)
    parser.add_argument("--run.landmarker", type=str)
    # How it is trained, which the landmarker itself does not need.
    for name in ("pretraining", "data"):
        parser.add_argument(f"--{name}", type=dict)
    parser.add_argument("--config", action="config")
    given = [f"--config={ROOT / 'configs' / 'landmarkers' / name}" for name in files]
    given += [f"--model.init_args.landmarker.init_args.{name}={value}" for name, value in overrides.items()]
    landmarker: Landmarker = parser.instantiate(parser.parse_args(given))["model.init_args.landmarker"]
    return landmarker


def crops(faces: FaceDataModule, size: int, count: int = 8) -> tuple[Tensor, Tensor]:
    """Plain crops of the first test faces and their landmarks, ``(B, 3, S, S)`` and ``(B, 68, 2)``."""
    chosen, transform = faces.test_faces(), FaceTransform(size)
    batch = collate([transform(chosen[k], k) for k in range(count)]).to("cpu")
    assert batch.landmarks is not None
    return batch.images, batch.landmarks


def real_crops(size: int) -> tuple[Tensor, Tensor]:
    return crops(FolderDataModule(str(REAL)), size)


def drawn_crops(size: int, count: int = 4) -> tuple[Tensor, Tensor]:
    return crops(SyntheticDataModule("photo", train_count=count, test_count=count, name="photos", size=96), size, count)


def train(landmarker: Landmarker, images: Tensor, target: Tensor, steps: int, rate: float) -> list[float]:
    """Steps of Adam on one batch, the rate rising and falling; the losses, and last the NME in %."""
    landmarker.fit_shapes(target)
    landmarker.train()
    optimizer = torch.optim.Adam(landmarker.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps + 1, pct_start=0.2, cycle_momentum=False)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        output = landmarker(images)
        loss = landmarker.loss(output, target)
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    with torch.no_grad():
        history.append(100 * interocular_loss(landmarker(images).landmarks, target).item())
    return history
