"""Methods that learn labels on changed photos, `stylize` and `cyclegan`: which photos, that labels stay exact."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.faces import FaceBatch, TrainBatch
from lightning_modules.augment.stylization import Stylization
from lightning_modules.methods import CycleGAN, Stylize
from lightning_modules.methods.cyclegan import translated
from lightning_modules.translation import PatchDiscriminator, ResNetGenerator, Translator
from tests.lightning_modules.methods.running import STEPS, Watch, fit
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


def translating(**arguments: Any) -> CycleGAN:
    return CycleGAN(LinearLandmarker(), Translator(ResNetGenerator(4, 1), PatchDiscriminator(4)), **arguments)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_translated_photos(share: float) -> None:
    cyclegan, photos = translating(translated_share=share), face_batch(torch.rand(4, 3, 32, 32), shapes(4))
    torch.manual_seed(1)
    chosen = torch.rand(4) < share
    torch.manual_seed(1)
    batch = translated(photos, cyclegan.translator, share)
    assert torch.equal(batch.images[~chosen], photos.images[~chosen])
    torch.testing.assert_close(batch.images[chosen], cyclegan.translator.to_target(photos.images[chosen]))
    assert torch.equal((batch.images != photos.images).flatten(1).any(1), chosen)
    assert batch.landmarks is photos.landmarks
    assert not batch.images.requires_grad


def test_the_landmarker_learns_and_the_translator_does_not(tmp_path: Path) -> None:
    cyclegan = translating()
    before = {name: value.clone() for name, value in cyclegan.state_dict().items()}
    modes = Watch(lambda m: (m.landmarker.training, m.translator.training))
    fit(cyclegan, tmp_path, 2, modes)
    assert modes.seen == [(True, False)] * 2 * STEPS
    changed = {name.split(".")[0] for name, value in cyclegan.state_dict().items() if not value.equal(before[name])}
    assert changed == {"landmarker"}
    assert any(name.startswith("translator.generators.target.") for name in before), "a checkpoint holds it"


def test_the_loss_is_of_translated_photos_on_their_labels() -> None:
    cyclegan, photos = translating(translated_share=1.0), face_batch(torch.rand(4, 3, 32, 32), shapes(4).float())
    losses = []
    cyclegan.update = lambda loss, *which: losses.append(loss.item())
    cyclegan.log = lambda *args, **options: None
    cyclegan.training_step(TrainBatch(photos), 0)
    predicted = cyclegan.landmarker(cyclegan.translator.to_target(photos.images)).landmarks
    assert losses == [pytest.approx((predicted - photos.landmarks).norm(dim=-1).mean().item())]
