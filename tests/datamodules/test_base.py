"""A data set by itself, without a setting, under a plain trainer."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer

from datamodules.base import FaceDataModule
from datamodules.datasets import FolderDataModule, SyntheticDataModule
from lightning_modules.landmarkers import SLPT
from lightning_modules.methods import Supervised
from tests.layouts import write_folder


def drawn(root: Path) -> FaceDataModule:
    return SyntheticDataModule("caricature", train_count=6, test_count=3, name="drawn", size=64)


def on_disk(root: Path) -> FaceDataModule:
    write_folder(root / "train", 6)
    write_folder(root / "test", 3, "npy", seed=20)
    return FolderDataModule(str(root), name="on_disk")


def trainer(root: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.mark.parametrize(("make", "subset"), [(drawn, "drawn"), (on_disk, "on_disk")])
def test_a_data_set_alone_trains_validates_and_tests_under_a_plain_trainer(
    make: type[FaceDataModule], subset: str, tmp_path: Path, tiny_landmarker: SLPT
) -> None:
    data = make(tmp_path / "faces")
    data.image_size, data.batch_size = 64, 2
    method = Supervised(tiny_landmarker)
    before = tiny_landmarker.offset_head.weight.detach().clone()
    fitting = trainer(tmp_path)
    fitting.fit(method, datamodule=data)
    assert fitting.global_step == 3
    assert not torch.equal(before, tiny_landmarker.offset_head.weight)
    # The network starts from this set's mean face.
    torch.testing.assert_close(tiny_landmarker.mean_face, data.source_shapes().mean(0))
    # Fitting validated too: the subsets of the test set, all three faces of it.
    assert method.scores[subset]["n"] == 3
    assert float(fitting.callback_metrics["val/average_nme"]) == pytest.approx(method.average_nme)
    (validated,) = trainer(tmp_path).validate(method, datamodule=data, verbose=False)
    (tested,) = trainer(tmp_path).test(method, datamodule=data, verbose=False)
    assert validated[f"val/{subset}/nme"] == pytest.approx(tested[f"test/{subset}/nme"])
    assert 0 < validated[f"val/{subset}/nme"] < 100
    # It has no target.
    batch = next(iter(data.train_dataloader()))
    assert batch.source.images.shape == (2, 3, 64, 64)
    assert batch.target is data.target_faces is None
