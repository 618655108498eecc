"""The method `self_training`: teacher, student, trust, and what a step is."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.faces import TrainBatch
from lightning_modules.augment.strong_view import StrongView
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.methods import SelfTraining
from lightning_modules.methods.self_training import rise
from tests.lightning_modules.methods.running import STEPS, Watch, fit, weights
from tests.lightning_modules.methods.small import (
    LinearLandmarker,
    face_batch,
    shapes,
    silent,
    smooth_images,
)


def make(**options: Any) -> SelfTraining:
    return SelfTraining(LinearLandmarker(), **{"learning_rate": 3e-3, **options})


class TestTeacher:
    @pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (8, 0.5), (10_000, 0.99)])
    def test_it_follows_as_computed_by_hand(self, step: int, decay: float) -> None:
        method = make(ema_decay=0.99)
        before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
        with torch.no_grad():
            for parameter in method.trained.parameters():
                parameter.add_(torch.randn_like(parameter))
        method.trained(smooth_images(4).float())  # moves the student's batch-norm
        method.follow(step)
        student = method.trained.state_dict()
        for name, value in method.teacher.state_dict().items():
            expected = decay * before[name] + (1 - decay) * student[name]
            if not value.is_floating_point():
                expected = student[name]
            torch.testing.assert_close(value, expected)
        assert method.teacher.norm.num_batches_tracked == 1

    @pytest.mark.parametrize("tested", ["teacher", "student"])
    def test_over_a_run_it_is_the_students_average(self, tmp_path: Path, tested: str) -> None:
        method = make(tested=tested)
        seen = Watch(lambda m: (weights(m.trained), weights(m.teacher)))
        fit(method, tmp_path, 3, seen)
        average = weights(LinearLandmarker())
        for step, (student, teacher) in enumerate(seen.seen):
            decay = (1 + step) / (10 + step)
            average = decay * average + (1 - decay) * student
            torch.testing.assert_close(teacher, average)
        assert len(seen.seen) == 3 * STEPS
        assert (method.landmarker is method.teacher) == (tested == "teacher")
        # What is tested is what the scores are of.
        assert torch.equal(weights(method.landmarker), seen.seen[-1][tested == "teacher"])
        assert not torch.equal(*seen.seen[-1])

    def test_only_the_student_is_trained(self, tmp_path: Path) -> None:
        method = make()
        graded = Watch(lambda m: [[p.grad is not None for p in part.parameters()] for part in (m.teacher, m.trained)])
        fit(method, tmp_path, 1, graded)
        (optimizer,) = method.configure_optimizers()
        assert set(optimizer.param_groups[0]["params"]) == set(method.other.parameters())
        assert graded.seen[0] == [[False] * 4, [True] * 4]


class TestTrust:
    def test_it_falls_with_disagreement(self) -> None:
        method = make(tolerance=0.05)
        disagreement = torch.tensor([0.0, 0.05, 0.1])
        assert method.trust(disagreement).tolist() == pytest.approx([1, math.exp(-0.5), math.exp(-2)])
        hard = make(tolerance=0.05, confidence="threshold")
        assert hard.trust(disagreement).tolist() == [1, 1, 0]

    def test_it_rises_over_the_run(self) -> None:
        assert [rise(p, 0.5) for p in (0, 0.25, 0.5, 1)] == pytest.approx([math.exp(-5), math.exp(-1.25), 1, 1])
        assert rise(0.0, 0.0) == 1


def test_a_step_learns_labels_and_what_the_teacher_sees(monkeypatch: Any) -> None:
    """Against the loss written out: the student on photos and on the views, the faces weighed by trust."""
    still = StrongView(0.0, (1.0, 1.0), 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    method, losses = make(view=still, consistency_weight=0.5, tolerance=0.1), []
    logged = silent(method)
    monkeypatch.setattr(method, "update", losses.append)
    monkeypatch.setattr(method, "follow", lambda step: None)
    monkeypatch.setattr(SelfTraining, "progress", 0.1)
    monkeypatch.setattr("lightning_modules.methods.self_training.steps_done", lambda trainer: 0)
    method._trainer = object()  # type: ignore[assignment]  # nothing is asked of it
    source = face_batch(smooth_images(4).float(), shapes(4).float())
    target = face_batch(smooth_images(4, seed=1).float())
    torch.manual_seed(5)
    method.training_step(TrainBatch(source, target), 0)

    with torch.no_grad():
        seen, disagreement = estimate(LinearLandmarker().eval(), target.images)
    torch.manual_seed(5)
    views, moved = still(target.images, seen)
    assert (moved - seen).abs().max() > 0.02
    trust = (-0.5 * (disagreement / 0.1) ** 2).exp()
    found = LinearLandmarker()(torch.cat([source.images, views])).landmarks
    off = (found - torch.cat([source.landmarks, moved])).norm(dim=-1).mean(-1)
    expected = off[:4].mean() + (0.5 * math.exp(-5 * 0.6**2) * trust * off[4:]).mean()
    torch.testing.assert_close(losses[0], expected)
    assert logged["train/trust"] == pytest.approx(float(trust.mean()))
    assert method.teacher.norm.num_batches_tracked == 0  # it looked in evaluation mode
    assert method.teacher.training
