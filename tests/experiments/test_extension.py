"""A data set, a landmarker and a method from outside the package, by class path and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.conftest import OwnFolders
from tests.experiments.helpers import PHASES, TINY_LANDMARKER, checkpoint, metrics, refused, rows, run, write_config

DATA = '''
"""Busts: a data set that this project does not know."""
from datamodules.base import FaceDataModule
from datamodules.synthetic.dataset import SyntheticFaces


class BustsDataModule(FaceDataModule):
    def __init__(self, count: int = 6, tested: int = 3) -> None:
        super().__init__()
        self.count, self.tested = count, tested

    def train_faces(self) -> SyntheticFaces:
        return SyntheticFaces("painting", self.count, seed=0, size=64)

    def test_faces(self) -> SyntheticFaces:
        return SyntheticFaces("painting", self.tested, seed=1, size=64, subsets=[("busts",)] * self.tested)
'''

LANDMARKER = '''
"""The mean face, moved by a linear map of the pooled image."""
import torch
from torch import Tensor, nn

from lightning_modules.landmarkers import Landmarker, LandmarkerOutput


class MovedMeanFace(Landmarker):
    def __init__(self, image_size: int = 64, cells: int = 8) -> None:
        super().__init__()
        self.image_size = image_size
        self.pool, self.head = nn.AdaptiveAvgPool2d(cells), nn.Linear(3 * cells * cells, 136)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("mean_face", torch.zeros(68, 2))

    def forward(self, images: Tensor) -> LandmarkerOutput:
        moved = self.mean_face + self.head(self.pool(images).flatten(1)).view(-1, 68, 2)
        return LandmarkerOutput(stages=moved[:, None])

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        errors = (output.landmarks - target).norm(dim=-1).mean(-1)
        return errors.mean() if weight is None else (weight * errors).sum() / weight.sum()

    def fit_shapes(self, shapes: Tensor) -> None:
        self.mean_face.copy_(shapes.mean(0))
'''

METHOD = '''
"""Labelled photos, and agreement with the mean prediction on stylised faces."""
import torch
from torch import Tensor

from datamodules.faces import TrainBatch
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.base import FaceMethod


class MeanAgreement(FaceMethod):
    needs_target = True
    needs_pretraining = True
    phase = "agreement"

    def __init__(self, landmarker: Landmarker, learning_rate: float = 1e-3, agreement: float = 0.1) -> None:
        super().__init__(landmarker)
        self.learning_rate, self.agreement = learning_rate, agreement

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        loss = self.landmarker.loss(self.landmarker(batch.source.images), batch.source.landmarks)
        predicted = self(batch.target.images)
        return loss + self.agreement * (predicted - predicted.mean(0).detach()).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.landmarker.parameters(), self.learning_rate)
'''

QUICK = {"trainer": {"accelerator": "cpu", "max_epochs": 1}, "pretraining": {"max_epochs": 1}}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with three modules, from which they can be imported."""
    modules = {"busts": DATA, "moved_mean_face": LANDMARKER, "mean_agreement": METHOD}
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in modules:
        sys.modules.pop(name, None)


def test_a_data_set_and_a_landmarker(
    outside: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapted by the shipped method, scored by ``evaluate``."""
    busts = {"class_path": "busts.BustsDataModule"}
    files = {"class_path": "datamodules.datasets.FolderDataModule", "init_args": {"root": str(own_folders.source)}}
    data = {"data": {"source": [files], "target": [busts], "tests": [busts], "batch_size": 4}}
    config = write_config(outside / "mine.yaml", QUICK, PHASES, data, {"run": {"landmarker": "moved_mean_face"}})
    landmarker = "--model.init_args.landmarker=moved_mean_face.MovedMeanFace"
    run("train", "--setting=da_artiface", f"--data={outside}", config, landmarker, f"--paths.runs={outside}/runs")

    folder = outside / "runs/da_artiface/face_warping-moved_mean_face/seed0"
    assert metrics(folder)["test"]["busts"]["n"] == 3
    best = folder / "checkpoints/best.ckpt"
    assert checkpoint(best)["landmarker"]["class_path"] == "moved_mean_face.MovedMeanFace"
    assert list(outside.glob("runs/pretrained/movedmeanface-*/landmarker.ckpt"))
    command = ["evaluate", f"--ckpt={best}", f"--test={own_folders.test}", f"--out={outside}/scores.json"]
    run(*command)
    assert len(rows(outside / "scores.faces.csv")) == 7

    # Where its module cannot be imported, the message says what is missing.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(outside)])
    sys.modules.pop("moved_mean_face")
    assert "its landmarker moved_mean_face.MovedMeanFace cannot be built" in refused(capsys, *command)


def test_a_data_set_without_stand_ins(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(outside / "mine.yaml", QUICK, {"data": {"target": [{"class_path": "busts.BustsDataModule"}]}})
    message = refused(capsys, "train", "--setting=da_artiface", config, f"--paths.runs={outside}/runs")
    assert "BustsDataModule has no stand-in faces. Give its files with DATA=ROOT, or add a `stand_in`" in message


def test_a_method(outside: Path, own_folders: OwnFolders) -> None:
    """On the shipped landmarker, which it pretrains; its own argument on the command line."""
    config = write_config(outside / "mine.yaml", QUICK, {"data": {"batch_size": 4}, "run": {"method": "agreement"}})
    landmarker = write_config(outside / "tiny.yaml", {"model": {"init_args": {"landmarker": TINY_LANDMARKER}}})
    method = ["--model=mean_agreement.MeanAgreement", "--model.init_args.agreement=0.5"]
    run("train", *own_folders.arguments, config, *method, landmarker, f"--paths.runs={outside}/runs")
    folder = outside / "runs/own/agreement-slpt/seed0"
    assert metrics(folder)["source_only"] is not None
    assert {row["phase"] for row in rows(folder / "nme.csv")} == {"agreement"}
    assert "agreement: 0.5" in (folder / "config.yaml").read_text()
