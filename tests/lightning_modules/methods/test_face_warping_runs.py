"""Face warping under a real ``Trainer``: phases, schedules, clipping, and what a step may change."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.methods import FaceWarping
from tests.lightning_modules.methods.running import STEPS, Watch, fit, setting, weights
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker


def make(**options: Any) -> FaceWarping:
    return FaceWarping(LinearLandmarker(), **{"warper_epochs": 1, "proximal_epochs": 2, **options})


def rates(method: FaceWarping) -> tuple[float, ...]:
    return tuple(optimizer.param_groups[0]["lr"] for optimizer in method.optimizers())


class TestFaceWarping:
    def test_pseudo_landmarks_freeze_when_the_warper_phase_ends(self, tmp_path: Path) -> None:
        method = make(exaggeration=Exaggeration())
        watch = Watch(lambda m: (m.phase, m.pseudo.current and m.pseudo.current.landmarks.clone()))
        trainer = fit(method, tmp_path, 6, watch)
        assert [phase for phase, _ in watch.seen[::STEPS]] == ["warper", "proximal", "proximal"] * 2
        pseudo = [landmarks for _, landmarks in watch.seen[::STEPS]]
        assert pseudo[0] is None
        assert pseudo[1].shape == (5, 68, 2)
        # Frozen for the phase, and through the next warper phase; then taken anew.
        assert torch.equal(pseudo[1], pseudo[2])
        assert torch.equal(pseudo[1], pseudo[3])
        assert not torch.equal(pseudo[3], pseudo[4])
        # One optimizer step a batch.
        assert trainer.global_step == 6 * STEPS
        torch.testing.assert_close(method.mean_face, setting().source_shapes().mean(0))

    def test_frozen_landmarks_are_those_at_the_start_of_the_phase(self, tmp_path: Path) -> None:
        """Learning rates of zero: the estimates of the untrained network, in the images' own pixels."""
        method = make(warper_epochs=0, proximal_epochs=1, proximal_learning_rate=0.0)
        fit(method, tmp_path, 1)
        data = setting()
        for batch in data.target_loader():
            found, _ = method.pseudo.lookup(batch, SIZE)
            torch.testing.assert_close(found, LinearLandmarker().eval()(batch.images).landmarks, atol=1e-5, rtol=0)

    @pytest.mark.parametrize(("phase", "epochs"), [("warper", (1, 0)), ("proximal", (0, 1))])
    def test_each_phase_steps_its_own_optimizer(self, phase: str, epochs: tuple[int, int], tmp_path: Path) -> None:
        zeroed = f"{phase}_learning_rate"
        for options, moves in (({}, True), ({zeroed: 0.0}, False)):
            method = make(warper_epochs=epochs[0], proximal_epochs=epochs[1], **options)
            before = weights(method)
            fit(method, tmp_path, 1)
            assert torch.equal(weights(method), before) != moves

    def test_joint_optimisation_takes_both_terms_in_each_step(self, tmp_path: Path) -> None:
        method = make(optimization="joint", landmark_weight=0.0)
        trainer = fit(method, tmp_path, 2)
        assert trainer.global_step == 2 * STEPS
        assert method.pseudo.current is not None
        (both,) = [value for name, value in trainer.callback_metrics.items() if name == "train/joint_loss"]
        assert float(trainer.callback_metrics["train/image_term"]) > 0
        assert float(both) > float(trainer.callback_metrics["train/image_term"])

    def test_the_cosine_schedule_is_a_function_of_the_step(self, tmp_path: Path) -> None:
        method = make(schedule="cosine", warper_learning_rate=1e-4, proximal_learning_rate=1e-3)
        watch = Watch(rates)
        fit(method, tmp_path, 3, watch)
        share = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * k / (3 * STEPS))).item()) for k in range(3 * STEPS)]
        assert [pair[0] for pair in watch.seen[:STEPS]] == pytest.approx([1e-4 * s for s in share[:STEPS]])
        assert [pair[1] for pair in watch.seen[STEPS:]] == pytest.approx([1e-3 * s for s in share[STEPS:]])

    @pytest.mark.parametrize("freeze", [True, False])
    def test_batch_norm_may_be_frozen_in_warper_steps(self, freeze: bool, tmp_path: Path) -> None:
        method = make(freeze_batch_norm=freeze)
        start = method.landmarker.norm.running_mean.clone()
        watch = Watch(lambda m: m.landmarker.norm.running_mean.clone())
        fit(method, tmp_path, 2, watch)
        assert torch.equal(watch.seen[STEPS - 1], start) == freeze  # after the warper phase
        assert not torch.equal(watch.seen[-1], watch.seen[STEPS - 1])  # the proximal phase lets them move
