"""What adapting methods share: updates of one optimizer at a time, their learning rates and clipping."""

import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch import nn

from callbacks.weight_average import WeightAverage
from datamodules.faces import TrainBatch
from datamodules.loading import steps_done
from lightning_modules.methods import FDA, FaceMethod, FaceWarping, Stylize, Supervised
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.training import cosine_decay
from tests.lightning_modules.methods.running import STEPS, Watch, fit, last_checkpoint, setting
from tests.lightning_modules.methods.small import LinearLandmarker, TwoStages, pair_batch


class _WithCritic(Adaptation):
    """Learns the labels, while a critic learns to follow the landmarker."""

    def __init__(self, **options: Any) -> None:
        super().__init__(LinearLandmarker(), **options)
        self.critic = nn.Linear(136, 1)
        self.longest = 0.0

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        loss = 1e3 * self.supervised_loss(batch.source)
        self.update(loss + self.critic(self(batch.source.images).flatten(1)).mean())
        before = [p.clone() for p in self.landmarker.parameters()]
        self.update(self.critic(self(batch.source.images).flatten(1)).square().mean(), 1)
        assert all(torch.equal(p, q) for p, q in zip(before, self.landmarker.parameters(), strict=True))

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.critic.parameters(), lr=0.01)]

    def learning_rate_of(self, which: int) -> float:
        return super().learning_rate_of(which) if which == 0 else 0.01

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        norms = [p.grad.norm() for p in self.landmarker.parameters() if p.grad is not None]
        if optimizer is self._optimizers()[0].optimizer:
            self.longest = max(self.longest, float(torch.stack(norms).norm()))


def test_each_update_moves_its_own_network(tmp_path: Path) -> None:
    method = _WithCritic(gradient_clip_norm=0.5)
    landmarker, critic = ([p.clone() for p in part.parameters()] for part in (method.landmarker, method.critic))
    rates = Watch(lambda m: m._optimizers()[0].param_groups[0]["lr"])
    fit(method, tmp_path, 2, rates)
    assert not any(torch.equal(p, q) for p, q in zip(critic, method.critic.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(landmarker, method.landmarker.parameters(), strict=True))
    assert method.longest == pytest.approx(0.5, rel=1e-4)
    assert rates.seen == pytest.approx([3e-4 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(2 * STEPS)])


class _Hours(Callback):
    """Each step takes a quarter of an hour."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hours = 0.0
        monkeypatch.setattr(Timer, "time_elapsed", lambda timer, stage=None: 3600 * self.hours)

    def on_train_batch_end(self, *args: Any) -> None:
        self.hours += 0.25


@pytest.mark.parametrize(
    ("epochs", "bounds"),
    # Lightning counts the steps of both optimizers.
    [(2, {}), (-1, {"max_steps": 8}), (9, {"max_steps": 8}), (2, {"max_steps": 90}), (-1, {"max_time": {"hours": 1}})],
)
def test_the_schedule_ends_with_the_run_whatever_bounds_it(
    epochs: int, bounds: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, hours = Watch(lambda m: m._optimizers()[0].param_groups[0]["lr"]), _Hours(monkeypatch)
    fit(_WithCritic(), tmp_path, epochs, hours, rates, **bounds)
    assert rates.seen == pytest.approx([3e-4 * cosine_decay(k / 4) for k in range(4)])


@pytest.mark.parametrize(
    ("method", "bounds"),
    [(Stylize, {}), (Supervised, {}), *((m, {"max_time": {"hours": 1}}) for m in (FDA, Supervised))],
)
def test_a_run_of_unknown_length_is_refused(method: type[FaceMethod], bounds: dict[str, Any], tmp_path: Path) -> None:
    """By methods that count epochs or steps also one that time ends."""
    with pytest.raises(ValueError, match="max_epochs"):
        fit(method(LinearLandmarker()), tmp_path, -1, **bounds)


def test_half_precision_is_refused_where_optimizers_would_share_its_scale(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bf16-mixed"):
        fit(_WithCritic(), tmp_path, 1, precision="16-true")
    mixed: Any = SimpleNamespace(precision="16-mixed", max_epochs=1, max_steps=-1, callbacks=[])
    with pytest.raises(ValueError, match="bf16-mixed"):
        FaceWarping(LinearLandmarker()).check_trainer(mixed)
    Stylize(LinearLandmarker()).check_trainer(mixed)


def test_a_constant_rate_and_no_clipping(tmp_path: Path) -> None:
    method = _WithCritic(schedule="constant", learning_rate=1e-4, gradient_clip_norm=None)
    rates = Watch(lambda m: m._optimizers()[0].param_groups[0]["lr"])
    fit(method, tmp_path, 1, rates)
    assert rates.seen == [1e-4] * STEPS
    assert method.longest > 1


class _Interrupt(Callback):
    """Ctrl-C before the fourth step."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if steps_done(trainer) == 3:
            raise KeyboardInterrupt


def _saved(folder: Path, end: str, back: float, average: bool) -> tuple[Adaptation, dict[str, torch.Tensor]]:
    """A method after a run of two epochs, or of three steps, and the landmarker in its last checkpoint."""
    torch.manual_seed(0)
    method = _WithCritic(return_to_start=back, learning_rate=0.01)
    callbacks = [*([WeightAverage(decay=0.5)] if average else []), last_checkpoint(folder, save_on_exception=True)]
    if end == "Ctrl-C":
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit):
            fit(method, folder, 2, _Interrupt(), *callbacks)
        signal.signal(signal.SIGINT, handler)
    else:
        # Lightning counts the steps of both optimizers.
        limits: dict[str, Any] = {"max_steps": {"max_steps": 6}, "max_time": {"max_time": {"hours": 1}}}
        trainer = fit(method, folder, 2, *callbacks, **limits.get(end, {}))
        assert steps_done(trainer) == (4 if end == "max_epochs" else 3)
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    prefix = "landmarker."
    return method, {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("end", ["max_epochs", "max_steps", "max_time", "Ctrl-C"])
def test_part_of_the_way_back_to_the_start(
    end: str, average: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line between the start's weights and those of the same run without a way back, buffers included."""

    def stop_after_three(timer: Timer, trainer: Trainer) -> None:
        trainer.should_stop = steps_done(trainer) == 3

    monkeypatch.setattr(Timer, "_check_time_remaining", stop_after_three)
    start = LinearLandmarker().state_dict()
    _, there = _saved(tmp_path / "there", end, 0.0, average)
    method, back = _saved(tmp_path / "back", end, 0.25, average)
    assert (there["linear.weight"] - start["linear.weight"]).abs().max() > 0.01
    assert (there["norm.running_mean"] - start["norm.running_mean"]).abs().max() > 0.01
    for name, value in back.items():
        expected = 0.25 * start[name] + 0.75 * there[name] if value.is_floating_point() else there[name]
        torch.testing.assert_close(value, expected)
    assert method.start is not None
    for name, value in method.start.state_dict().items():
        assert torch.equal(value, start[name])


def test_it_is_validated_after_its_return(tmp_path: Path) -> None:
    """All the way back, the last scores are the start's."""
    there, back, start = (_WithCritic(return_to_start=share, learning_rate=0.01) for share in (0.0, 1.0, 0.0))
    fit(there, tmp_path, 2)
    fit(back, tmp_path, 2).validate(start, datamodule=setting(), verbose=False)
    assert back.average_nme == pytest.approx(start.average_nme, rel=1e-6)
    assert there.average_nme != pytest.approx(start.average_nme, rel=1e-2)


def test_the_loss_counts_photos_alone_and_batch_norm_sees_both() -> None:
    batch = pair_batch(4)
    method = Adaptation(TwoStages()).train()
    output, loss = method.pass_both(batch.source, batch.target.images)
    assert output.stages.shape == (8, 2, 68, 2)
    both = torch.cat([batch.source.images, batch.target.images])
    torch.testing.assert_close(method.landmarker.norm.running_mean, 0.1 * both.mean((0, 2, 3)))
    errors = (output.stages[:4] - batch.source.landmarks[:, None]).norm(dim=-1)
    torch.testing.assert_close(loss, errors.mean())
