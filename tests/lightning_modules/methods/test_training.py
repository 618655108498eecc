"""Methods under a real ``Trainer``: phases, schedules, clipping, and what a step may change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule
from lightning_modules.methods import FaceMethod, FaceWarping, Supervised
from lightning_modules.methods.exaggeration import Exaggeration
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker

STEPS = 2


def setting() -> SettingDataModule:
    photos = SyntheticDataModule("photo", train_count=4, test_count=2, name="photos", size=48)
    art = SyntheticDataModule("painting", train_count=5, test_count=3, name="art", size=48)
    return SettingDataModule(
        [photos], [art], [photos, art], root="files", image_size=SIZE, batch_size=2, steps_per_epoch=STEPS
    )


def fit(method: FaceMethod, root: Path, epochs: int, *callbacks: Callback, resume: Path | None = None) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=root,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(method, datamodule=setting(), ckpt_path=resume, weights_only=True)
    return trainer


def weights(method: LightningModule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in method.parameters()]).clone()


class Watch(Callback):
    """Notes what a look at the method gives after every step."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        self.look, self.seen = look, []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.seen.append(self.look(pl_module))


def make(**options: Any) -> FaceWarping:
    return FaceWarping(LinearLandmarker(), **{"warper_epochs": 1, "proximal_epochs": 2, **options})


def rates(method: FaceWarping) -> tuple[float, ...]:
    return tuple(optimizer.param_groups[0]["lr"] for optimizer in method.optimizers())


class TestFaceWarping:
    def test_pseudo_landmarks_freeze_when_the_warper_phase_ends(self, tmp_path: Path) -> None:
        method = make()
        watch = Watch(lambda m: (m.phase, m.pseudo and m.pseudo.landmarks.clone()))
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

    def test_frozen_landmarks_are_those_at_the_start_of_the_phase(self, tmp_path: Path) -> None:
        """Learning rates of zero: the estimates of the untrained network, in the images' own pixels."""
        method = make(warper_epochs=0, proximal_epochs=1, proximal_learning_rate=0.0)
        fit(method, tmp_path, 1)
        data = setting()
        method.landmarker.eval()
        method.landmarker.load_state_dict(LinearLandmarker().state_dict())
        for batch in data.target_loader():
            found, _ = method.pseudo.lookup(batch, SIZE)
            torch.testing.assert_close(found, method(batch.images).detach(), atol=1e-5, rtol=0)

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
        assert method.pseudo is not None
        (both,) = [value for name, value in trainer.callback_metrics.items() if name == "train/joint_loss"]
        assert float(trainer.callback_metrics["train/image_term"]) > 0
        assert float(both) > float(trainer.callback_metrics["train/image_term"])
        ends = []
        for image_weight in (0.0, 100.0):
            method = make(optimization="joint", image_weight=image_weight, landmark_weight=0.0)
            fit(method, tmp_path, 1)
            ends.append(weights(method))
        assert not torch.equal(*ends)  # the image term has its say beside the proximal one

    def test_the_cosine_schedule_is_a_function_of_the_step(self, tmp_path: Path) -> None:
        method = make(schedule="cosine", warper_learning_rate=1e-4, proximal_learning_rate=1e-3)
        watch = Watch(rates)
        fit(method, tmp_path, 3, watch)
        share = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * k / (3 * STEPS))).item()) for k in range(3 * STEPS)]
        assert [pair[0] for pair in watch.seen[:STEPS]] == pytest.approx([1e-4 * s for s in share[:STEPS]])
        assert [pair[1] for pair in watch.seen[STEPS:]] == pytest.approx([1e-3 * s for s in share[STEPS:]])

    @pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # that is what resuming means
    def test_a_resumed_run_ends_where_a_whole_one_does(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"schedule": "cosine", "mirror_average": True, "gradient_clip_norm": 1.0}
        whole = make(**options)
        fit(whole, tmp_path / "whole", 3)

        class Stop(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                trainer.should_stop = trainer.current_epoch == 1

        saved = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        fit(make(**options), tmp_path / "first", 3, Stop(), saved)
        resumed = make(**options)
        fit(resumed, tmp_path / "second", 3, saved, resume=tmp_path / "last.ckpt")
        assert torch.equal(weights(resumed), weights(whole))
        assert resumed.figures == whole.figures

    def test_gradients_are_clipped_to_their_norm(self, tmp_path: Path) -> None:
        norms = []
        for limit in (None, 1e-3):
            # The step leaves the gradient it took in place.
            watch = Watch(lambda m: float(torch.cat([p.grad.flatten() for p in m.parameters()]).norm()))
            fit(make(warper_epochs=0, gradient_clip_norm=limit), tmp_path, 2, watch)
            norms.append(watch.seen)
        assert min(norms[0]) > 1e-2
        assert norms[1] == pytest.approx([1e-3] * 2 * STEPS, rel=1e-3)

    @pytest.mark.parametrize("freeze", [True, False])
    def test_batch_norm_may_be_frozen_in_warper_steps(self, freeze: bool, tmp_path: Path) -> None:
        method = make(freeze_batch_norm=freeze)
        start = method.landmarker.norm.running_mean.clone()
        watch = Watch(lambda m: m.landmarker.norm.running_mean.clone())
        fit(method, tmp_path, 2, watch)
        assert torch.equal(watch.seen[STEPS - 1], start) == freeze  # after the warper phase
        assert not torch.equal(watch.seen[-1], watch.seen[STEPS - 1])  # the proximal phase lets them move

    def test_exaggeration_works_from_the_sources_mean_face(self, tmp_path: Path) -> None:
        method = make(warper_epochs=0, exaggeration=Exaggeration())
        trainer = fit(method, tmp_path, 1)
        assert trainer.global_step == STEPS
        torch.testing.assert_close(method.mean_face, setting().source_shapes().mean(0))


class TestSupervised:
    def test_it_learns_from_source_labels_alone(self, tmp_path: Path) -> None:
        class NoTarget(Callback):
            def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, index: int) -> None:
                assert batch.target is None

        method = Supervised(LinearLandmarker(strength=0.3), learning_rate=1e-2)
        losses = Watch(lambda m: float(m.trainer.callback_metrics["train/loss"]))
        fit(method, tmp_path, 10, NoTarget(), losses)
        assert sum(losses.seen[-4:]) < 0.7 * sum(losses.seen[:4])

    def test_one_cycle_over_the_whole_run(self, tmp_path: Path) -> None:
        watch = Watch(lambda m: m.optimizers().param_groups[0]["lr"])
        fit(Supervised(LinearLandmarker(), learning_rate=1e-2, warmup=0.5), tmp_path, 4, watch)
        rates = watch.seen[:-1]  # of the second to the last of 8 steps
        assert rates[:3] == sorted(rates[:3])
        assert rates[2:] == sorted(rates[2:], reverse=True)
        assert rates[2] == pytest.approx(1e-2)
        assert rates[-1] < 1e-4 * rates[2]

    def test_the_loss_is_the_landmarkers_own(self) -> None:
        method = Supervised(LinearLandmarker())
        method.log = lambda *args, **options: None  # type: ignore[method-assign]
        batch = next(iter(setting().train_dataloader()))
        expected = method.landmarker.loss(method.landmarker(batch.source.images), batch.source.landmarks)
        torch.testing.assert_close(method.training_step(batch, 0), expected)

    def test_validation_scores_every_test_face_in_image_pixels(self, tmp_path: Path) -> None:
        """Against a plain loop: the mean distance over the eye corners' distance, in the drawn images' own pixels."""
        method = Supervised(LinearLandmarker(), learning_rate=1e-3)
        fit(method, tmp_path, 1)
        data, errors = setting(), {}
        method.eval()
        for test in data.test_sets:
            loader = data._evaluation_loader(test.faces)
            for batch in loader:
                for k, predicted in enumerate(method(batch.images).detach()):
                    face, matrix = test.faces[int(batch.indices[k])], batch.matrices[k]
                    inverse = torch.linalg.inv(torch.cat([matrix, torch.tensor([[0.0, 0, 1]])]).double())
                    homogeneous = torch.cat([predicted.double() * SIZE, torch.ones(68, 1)], dim=1)
                    truth = torch.from_numpy(face.landmarks).double()
                    distance = ((homogeneous @ inverse.T)[:, :2] - truth).norm(dim=-1).mean()
                    error = float(100 * distance / (truth[36] - truth[45]).norm())
                    errors.setdefault(test.figures[0], []).append(error)
        assert {name: values["n"] for name, values in method.figures.items()} == {"photos": 2, "art": 3}
        for name, values in errors.items():
            assert method.figures[name]["nme"] == pytest.approx(sum(values) / len(values), abs=1e-3)
        everything = [value for values in errors.values() for value in values]
        assert method.average_nme == pytest.approx(sum(everything) / 5, abs=1e-3)
