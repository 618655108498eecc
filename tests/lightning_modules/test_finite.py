"""Trainings that stop being finite: ended at once, with one message, and nothing of them on disk."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.exact_resume import AtomicCheckpointIO
from lightning_modules.finite import DivergedError
from lightning_modules.methods import FaceMethod
from lightning_modules.weights import WeightsError, not_finite_in, read_state
from tests.lightning_modules.methods.running import STEPS, fit, last_checkpoint
from tests.lightning_modules.methods.test_every_method import METHODS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
]
NAN = float("nan")
BOTH = pytest.mark.parametrize("name", ["supervised", "face_warping", "cyclegan"])


class Spoil(Callback):
    """Makes a weight NaN before a step, counted from 0."""

    def __init__(self, step: int) -> None:
        self.step, self.seen = step, 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if self.seen == self.step:
            next(pl_module.landmarker.parameters()).data.view(-1)[0] = NAN
        self.seen += 1


def interrupted(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, "interrupted", every_n_epochs=0, save_on_exception=True, enable_version_counter=False
    )


def diverged(method: FaceMethod, folder: Path, *callbacks: Callback, **options: Any) -> str:
    saving = (last_checkpoint(folder), interrupted(folder))
    with pytest.raises(DivergedError) as error:
        fit(method, folder, 4, *callbacks, *saving, plugins=[AtomicCheckpointIO()], **options)
    return str(error.value)


@BOTH
def test_a_loss_that_is_not_finite_ends_the_training(name: str, tmp_path: Path) -> None:
    """In the second epoch: the checkpoint of the first stays, and can be gone on from."""
    method = METHODS[name]()
    message = diverged(method, tmp_path, Spoil(STEPS + 1))
    assert re.match(
        rf"the training is no longer finite: the loss is nan in step {STEPS + 2} \(epoch 2, \w+ phase\), learning "
        r"rate [\d.e-]+.*\. Try a smaller learning rate",
        message,
    )
    assert sorted(path.name for path in tmp_path.glob("*.ckpt*")) == ["last.ckpt"]
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (kept["epoch"], not_finite_in(kept, ("state_dict", "optimizer_states"))) == (0, None)
    again = METHODS[name]()
    saving = (last_checkpoint(tmp_path), interrupted(tmp_path))
    fit(again, tmp_path, 4, Spoil(99), *saving, resume=tmp_path / "last.ckpt", plugins=[AtomicCheckpointIO()])
    assert all(bool(value.isfinite().all()) for value in again.parameters())


def test_the_weights_stay_those_before_the_step(tmp_path: Path) -> None:
    """On a CPU the loss is looked at before its gradient is computed."""
    method = METHODS["stylize"]()
    before = {}

    def training_step(batch: Any, batch_idx: int) -> None:
        before.update({name: value.clone() for name, value in method.state_dict().items()})
        method.update(NAN * method.supervised_loss(batch.source))

    method.training_step = training_step  # type: ignore[method-assign]
    diverged(method, tmp_path)
    moved = [name for name, value in method.named_parameters() if not torch.equal(value, before[name])]
    assert moved == []


def test_weights_that_are_not_finite_after_a_finite_loss_end_it_with_the_epoch(tmp_path: Path) -> None:
    class SpoilsTheGradient(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if trainer.current_epoch == 1 and trainer.fit_loop.epoch_loop.batch_idx == STEPS - 1:
                next(pl_module.landmarker.parameters()).grad.fill_(NAN)

    message = diverged(METHODS["supervised"](), tmp_path, SpoilsTheGradient())
    assert f"not finite (landmarker.norm.weight) after step {2 * STEPS} (epoch 2, " in message
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0
    assert not (tmp_path / "interrupted.ckpt").exists()


def test_an_error_in_a_step_on_weights_that_are_not_finite_is_told_as_that(tmp_path: Path) -> None:
    method = METHODS["stylize"]()

    def training_step(batch: Any, batch_idx: int) -> None:
        next(method.landmarker.parameters()).data.fill_(NAN)
        raise RuntimeError("index -9223372036854775808 is out of bounds")

    method.training_step = training_step  # type: ignore[method-assign]
    assert "weights are not finite" in diverged(method, tmp_path)


def test_a_file_that_is_not_finite_is_neither_written_nor_read(tmp_path: Path) -> None:
    path, fine = tmp_path / "a.ckpt", {"state_dict": {"landmarker.x": torch.ones(2), "count": torch.tensor(1)}}
    AtomicCheckpointIO().save_checkpoint(fine, path)
    for spoilt in (
        {"state_dict": {"landmarker.x": torch.tensor([1.0, NAN])}},
        {**fine, "current_model_state": {"landmarker.x": torch.tensor(float("inf"))}},
        {**fine, "optimizer_states": [{"state": {0: {"exp_avg": torch.tensor([NAN])}}}]},
    ):
        with pytest.raises(DivergedError, match=r"a\.ckpt: not written, because the training has diverged"):
            AtomicCheckpointIO().save_checkpoint(spoilt, path)
        other = tmp_path / "other.ckpt"
        torch.save(spoilt, other)
        with pytest.raises(WeightsError, match=r"other\.ckpt: the tensor .* holds values that are not finite"):
            AtomicCheckpointIO().load_checkpoint(other)
    assert AtomicCheckpointIO().load_checkpoint(path)["state_dict"]["count"] == 1
    torch.save({"net": {"x": torch.tensor([NAN])}}, path)
    with pytest.raises(WeightsError, match=r"a\.ckpt: the tensor net\.x holds"):
        read_state(path)
