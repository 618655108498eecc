"""CycleGAN: which photos are translated, that labels stay, and that the translator does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.faces import TrainBatch
from lightning_modules.methods.cyclegan import CycleGAN
from lightning_modules.methods.cyclegan import translated as translate
from lightning_modules.translation import PatchDiscriminator, ResNetGenerator, Translator
from tests.lightning_modules.methods.running import STEPS, Watch, fit
from tests.lightning_modules.methods.small import LinearLandmarker, face_batch, shapes


def method(**arguments: Any) -> CycleGAN:
    return CycleGAN(LinearLandmarker(), Translator(ResNetGenerator(4, 1), PatchDiscriminator(4)), **arguments)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_translated_photos(share: float) -> None:
    cyclegan, photos = method(translated_share=share), face_batch(torch.rand(4, 3, 32, 32), shapes(4))
    torch.manual_seed(1)
    chosen = torch.rand(4) < share
    torch.manual_seed(1)
    batch = translate(photos, cyclegan.translator, share)
    assert torch.equal(batch.images[~chosen], photos.images[~chosen])
    torch.testing.assert_close(batch.images[chosen], cyclegan.translator.to_target(photos.images[chosen]))
    assert torch.equal((batch.images != photos.images).flatten(1).any(1), chosen)
    assert batch.landmarks is photos.landmarks
    assert not batch.images.requires_grad


def test_the_landmarker_learns_and_the_translator_does_not(tmp_path: Path) -> None:
    cyclegan = method()
    before = {name: value.clone() for name, value in cyclegan.state_dict().items()}
    modes = Watch(lambda m: (m.landmarker.training, m.translator.training))
    fit(cyclegan, tmp_path, 2, modes)
    assert modes.seen == [(True, False)] * 2 * STEPS
    changed = {name.split(".")[0] for name, value in cyclegan.state_dict().items() if not value.equal(before[name])}
    assert changed == {"landmarker"}
    assert any(name.startswith("translator.generators.target.") for name in before), "a checkpoint holds it"


def test_the_loss_is_of_translated_photos_on_their_labels() -> None:
    cyclegan, photos = method(translated_share=1.0), face_batch(torch.rand(4, 3, 32, 32), shapes(4).float())
    losses = []
    cyclegan.update = lambda loss, *which: losses.append(loss.item())
    cyclegan.log = lambda *args, **options: None
    cyclegan.training_step(TrainBatch(photos), 0)
    predicted = cyclegan.landmarker(cyclegan.translator.to_target(photos.images)).landmarks
    assert losses == [pytest.approx((predicted - photos.landmarks).norm(dim=-1).mean().item())]
