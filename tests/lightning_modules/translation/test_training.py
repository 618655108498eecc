"""Training translators: who learns from what, at which rate; the cycle closes; a resumed run ends the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.exact_resume import ExactResume
from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule, UnpairedImages
from lightning_modules.translation import PatchDiscriminator, Translator, UNetGenerator
from lightning_modules.translation.training import TranslatorTraining

SIZE = 32


def images(steps: int) -> UnpairedImages:
    photos = SyntheticDataModule("photo", train_count=4, name="photos", size=48)
    art = SyntheticDataModule("painting", train_count=5, name="art", size=48)
    return UnpairedImages(SettingDataModule([photos], [art], root="files", image_size=SIZE), 2, steps)


def training(**arguments: Any) -> TranslatorTraining:
    torch.manual_seed(0)
    return TranslatorTraining(Translator(UNetGenerator(SIZE, 8), PatchDiscriminator(4)), **arguments)


class _Watch(Callback):
    def __init__(self, **looks: Any) -> None:
        self.looks, self.seen = looks, {name: [] for name in looks}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        for name, look in self.looks.items():
            self.seen[name].append(look(pl_module))


def fit(
    module: TranslatorTraining, epochs: int, steps: int, *callbacks: Callback, seed: int = 1, resume: Path | None = None
) -> _Watch:
    watch = _Watch(
        rates=lambda m: [group["lr"] for o in m.optimizers() for group in o.param_groups],
        cycle=lambda m: m.trainer.callback_metrics["train/cycle"].item(),
        pooled=lambda m: [len(pool.images) for pool in m.pools.values()],
    )
    torch.manual_seed(seed)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[*callbacks, watch],
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=images(steps), ckpt_path=resume, weights_only=True)
    return watch


def test_rates_fall_along_a_line_and_pools_fill() -> None:
    module = training(learning_rate=1e-3, pool_size=5)
    watch = fit(module, 2, 4)
    assert watch.seen["rates"] == [pytest.approx([rate, rate]) for rate in (1e-3,) * 5 + (75e-5, 5e-4, 25e-5)]
    assert watch.seen["pooled"] == [[2, 2], [4, 4], *[[5, 5]] * 6]
    assert [group["betas"] for o in module.optimizers() for group in o.param_groups] == [(0.5, 0.999)] * 2  # type: ignore[union-attr]


def test_it_lowers_the_cycle_term_on_drawn_faces() -> None:
    cycle = fit(training(learning_rate=1e-2, decay_from=1.0), 1, 40).seen["cycle"]
    assert sum(cycle[-10:]) < 0.65 * sum(cycle[:10])


def test_further_terms_move_the_generators() -> None:
    plain, told = training(), training(further=lambda images: {"dark": 100 * images.to_target.mean()})
    fit(plain, 1, 3)
    fit(told, 1, 3)
    photos = torch.rand(2, 3, SIZE, SIZE)
    assert told.translator.to_target(photos).mean() < plain.translator.to_target(photos).mean()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    """With small pools, so that what they hold, and what is drawn, matters."""

    def saving() -> list[Callback]:
        return [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True), ExactResume()]

    whole, resumed = training(pool_size=3), training(pool_size=3)
    fit(whole, 2, 4, *saving())
    fit(resumed, 2, 4, *saving(), seed=99, resume=tmp_path / "epoch=0.ckpt")

    def flat(module: TranslatorTraining) -> list[torch.Tensor]:
        pooled = [image for pool in module.pools.values() for image in pool.images]  # type: ignore[union-attr]
        return [*module.parameters(), *pooled]

    assert len(flat(whole)) == len(flat(resumed))
    assert all(torch.equal(a, b) for a, b in zip(flat(whole), flat(resumed), strict=True))
