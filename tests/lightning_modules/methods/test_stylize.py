"""The method `stylize` under a real trainer and by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.augment.stylization import Stylization
from lightning_modules.methods import Stylize
from tests.lightning_modules.methods.running import fit
from tests.lightning_modules.methods.small import LinearLandmarker, face_batch, shapes, silent, smooth_images


def test_a_step_is_the_loss_on_stylised_photos(monkeypatch: Any) -> None:
    method, same = (Stylize(LinearLandmarker(), Stylization()) for _ in range(2))
    method.mean_face = same.mean_face = shapes(1)[0].float()
    logged, steps = silent(method), []
    monkeypatch.setattr(method, "update", steps.append)
    source = face_batch(smooth_images(4).float(), shapes(4).float())
    target = face_batch(smooth_images(4, seed=1).float())
    torch.manual_seed(3)
    method.training_step(TrainBatch(source, target), 0)
    torch.manual_seed(3)
    photos = same.stylized(source, target)
    assert not torch.equal(photos.images, source.images)
    assert float(steps[0].detach()) == logged["train/loss"] == float(same.supervised_loss(photos).detach())


def test_shapes_are_the_landmarkers_own(monkeypatch: Any) -> None:
    """What it says of the stylised faces, in evaluation mode and without a trace in batch-norm."""
    method = Stylize(LinearLandmarker(), Stylization())
    method.mean_face = shapes(1)[0].float()
    seen = []

    def stylise(self: Stylization, photos: FaceBatch, drawings: Any, given: Any, mean_face: Any) -> FaceBatch:
        seen.append(given)
        return photos

    monkeypatch.setattr(Stylization, "__call__", stylise)
    target = face_batch(smooth_images(4, seed=1).float())
    before = method.landmarker.norm.running_mean.clone()
    method.stylized(face_batch(smooth_images(4).float(), shapes(4).float()), target)
    assert torch.equal(method.landmarker.norm.running_mean, before)
    torch.testing.assert_close(seen[0], method.eval()(target.images))


@pytest.mark.parametrize("freeze", [True, False])
def test_batch_norm_may_keep_the_photos_statistics(freeze: bool, tmp_path: Path) -> None:
    method = Stylize(LinearLandmarker(), Stylization(), freeze_batch_norm=freeze)
    fit(method, tmp_path, 1)
    assert (method.landmarker.norm.num_batches_tracked == 0) == freeze
