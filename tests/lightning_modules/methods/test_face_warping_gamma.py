"""γ learned beside the landmarker under the method: who steps it, when, and that it lives in the checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from datamodules.faces import TrainBatch
from lightning_modules.methods import FaceWarping
from lightning_modules.methods.face_warping import PROXIMAL, WARPER
from lightning_modules.methods.pseudo import PseudoLandmarks
from lightning_modules.warping import LearnedField, SimilarPose, WarperObjective
from tests.lightning_modules.methods.running import STEPS, Watch, fit, weights
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, silent, smooth_images

OPTIONS: dict[str, Any] = {
    "warper_epochs": 1,
    "proximal_epochs": 1,
    "warper_learning_rate": 1e-4,
    "proximal_learning_rate": 1e-3,
    "gamma_learning_rate": 3e-2,
}


def make(**options: Any) -> FaceWarping:
    torch.manual_seed(0)
    objective = WarperObjective(pairing=SimilarPose(), learned=LearnedField(hidden=8))
    return FaceWarping(LinearLandmarker(), objective, **{**OPTIONS, **options})


def gamma(method: FaceWarping) -> Tensor:
    return torch.cat([p.detach().flatten() for p in method.warper.parameters()]).clone()


@pytest.mark.parametrize(("optimization", "holder"), [("alternating", WARPER), ("joint", PROXIMAL)])
def test_gamma_goes_with_the_steps_that_warp(optimization: str, holder: int) -> None:
    method = make(optimization=optimization)
    optimizers = method.configure_optimizers()
    for which, rate in ((WARPER, 1e-4), (PROXIMAL, 1e-3)):
        first, *rest = optimizers[which].param_groups
        assert set(first["params"]) == set(method.landmarker.parameters())
        assert first["lr"] == rate
        assert [group["lr"] for group in rest] == ([3e-2] if which == holder else [])
    assert set(optimizers[holder].param_groups[1]["params"]) == set(method.warper.parameters())


def test_parameters_that_are_frozen_are_not_learned() -> None:
    method = make()
    method.warper.requires_grad_(False)
    assert method.gamma == []
    assert [len(optimizer.param_groups) for optimizer in method.configure_optimizers()] == [1, 1]


@pytest.mark.parametrize("gradient_through_warp", [True, False])
@pytest.mark.parametrize("phase", ["warper", "proximal", "joint"])
def test_every_parameter_is_on_the_graph_of_every_phase(
    phase: str, gradient_through_warp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What plain ddp asks for: it waits for the gradient of each of them."""
    method = make().double()
    method.warper.gradient_through_warp = gradient_through_warp
    silent(method)
    method.pseudo.current = PseudoLandmarks((shapes(3, seed=5) * SIZE).float(), torch.ones(3))
    monkeypatch.setattr(FaceWarping, "phase", phase)
    steps: list[int] = []

    def step(loss: Tensor, which: int) -> None:
        loss.backward()
        steps.append(which)

    monkeypatch.setattr(method, "update", step)
    source, target = face_batch(smooth_images(3, seed=1), shapes(3)), face_batch(smooth_images(3, seed=2))
    method.training_step(TrainBatch(source, target), 0)
    assert [name for name, p in method.named_parameters() if p.grad is None] == []
    assert steps == [WARPER if phase == "warper" else PROXIMAL]
    gradients = torch.cat([p.grad.flatten() for p in method.gamma if p.grad is not None])
    assert bool(gradients.any()) == (phase != "proximal")


def test_the_warper_phase_moves_gamma_and_the_proximal_phase_leaves_it(tmp_path: Path) -> None:
    method = make()
    start, watch = gamma(method), Watch(lambda m: (m.phase, gamma(m), weights(m.landmarker)))
    trainer = fit(method, tmp_path, 3, watch)
    assert [phase for phase, _, _ in watch.seen] == ["warper"] * STEPS + ["proximal"] * STEPS + ["warper"] * STEPS
    seen = [values for _, values, _ in watch.seen]
    assert not torch.equal(seen[STEPS - 1], start)
    for values in seen[STEPS : 2 * STEPS]:
        assert torch.equal(values, seen[STEPS - 1])
    assert not torch.equal(seen[-1], seen[STEPS - 1])
    assert not torch.equal(watch.seen[STEPS][2], watch.seen[STEPS - 1][2])
    # With γ the landmark-warping error is more than rounding, and folds are reported.
    assert float(trainer.callback_metrics["train/landmark_warping_error"]) > 1e-6
    assert 0 <= float(trainer.callback_metrics["train/folded"]) <= 1


def test_joint_steps_move_gamma_at_its_own_rate(tmp_path: Path) -> None:
    ends = []
    for rate in (0.0, 1e-3):
        method = make(optimization="joint", gamma_learning_rate=rate, schedule="cosine")
        start = gamma(method)
        fit(method, tmp_path, 1)
        ends.append((gamma(method) - start).abs().max())
    assert ends[0] == 0
    assert 0 < ends[1] <= 1.01e-3 * STEPS  # Adam's step is at most its rate


@pytest.mark.parametrize("learned", [True, False])
def test_yaml_chooses_pairing_and_field(learned: bool) -> None:
    room = "lightning_modules.warping"
    field = {"class_path": f"{room}.LearnedField", "init_args": {"hidden": 16, "max_offset": 0.02}}
    options = {"pairing": {"class_path": f"{room}.SimilarPose"}, "learned": field if learned else None}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WarperObjective, "warper")
    given = {"warper": {"class_path": f"{room}.WarperObjective", "init_args": {**options, "border_anchors": 3}}}
    objective = parser.instantiate_classes(parser.parse_object(given)).warper
    assert isinstance(objective.pairing, SimilarPose)
    assert objective.spline.border_anchors == 3
    assert (objective.learned is not None) == learned
    assert not learned or objective.learned.max_offset == 0.02
