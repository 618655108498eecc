"""Training translators: who learns from what, at which rate; the cycle closes; a resumed run ends the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule, UnpairedImages
from lightning_modules.translation import PatchDiscriminator, Translator, UNetGenerator
from lightning_modules.translation.training import TranslatorTraining
from tests.lightning_modules.methods.running import Watch, fit, whole_and_resumed

SIZE = 32


def images(steps: int) -> UnpairedImages:
    photos = SyntheticDataModule("photo", train_count=4, name="photos", size=48)
    art = SyntheticDataModule("painting", train_count=5, name="art", size=48)
    return UnpairedImages(SettingDataModule([photos], [art], root="files", image_size=SIZE), 2, steps)


def training(**arguments: Any) -> TranslatorTraining:
    torch.manual_seed(0)
    return TranslatorTraining(Translator(UNetGenerator(SIZE, 8), PatchDiscriminator(4)), **arguments)


def test_rates_fall_along_a_line_and_pools_fill(tmp_path: Path) -> None:
    module = training(learning_rate=1e-3, pool_size=5)
    rates = Watch(lambda m: [group["lr"] for o in m.optimizers() for group in o.param_groups])
    pooled = Watch(lambda m: [len(pool.images) for pool in m.pools.values()])
    fit(module, tmp_path, 2, rates, pooled, data=images(4))
    assert rates.seen == [pytest.approx([rate, rate]) for rate in (1e-3,) * 5 + (75e-5, 5e-4, 25e-5)]
    assert pooled.seen == [[2, 2], [4, 4], *[[5, 5]] * 6]
    assert [group["betas"] for o in module.optimizers() for group in o.param_groups] == [(0.5, 0.999)] * 2


def test_it_lowers_the_cycle_term_on_drawn_faces(tmp_path: Path) -> None:
    cycle = Watch(lambda m: m.trainer.callback_metrics["train/cycle"].item())
    torch.manual_seed(1)
    fit(training(learning_rate=1e-2, decay_from=1.0), tmp_path, 1, cycle, data=images(40))
    assert sum(cycle.seen[-10:]) < 0.65 * sum(cycle.seen[:10])


def test_further_terms_move_the_generators(tmp_path: Path) -> None:
    plain, told = training(), training(further=lambda images: {"dark": 100 * images.to_target.mean()})
    for module in (plain, told):
        fit(module, tmp_path, 1, data=images(3))
    photos = torch.rand(2, 3, SIZE, SIZE)
    assert told.translator.to_target(photos).mean() < plain.translator.to_target(photos).mean()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    """With small pools, so that what they hold, and what is drawn, matters."""
    ends = whole_and_resumed(lambda: training(pool_size=3), tmp_path, 2, 1, images(4))
    whole, resumed = ([*m.parameters(), *(i for p in m.pools.values() for i in p.images)] for m in ends)
    assert len(whole) == len(resumed)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
