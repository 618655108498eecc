"""What every light landmarker must do: stages, gradients, learning on drawn and on real faces, both methods."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.landmarkers import Landmarker
from lightning_modules.methods import FaceWarping, Supervised
from tests.lightning_modules.landmarkers.training import REAL, configured, drawn_crops, real_crops, train
from tests.lightning_modules.methods.small import face_batch, silent

SIZE = 64
STAGES = {"openpose": 2, "spiga": 3, "sbr": 2, "integral": 1}
SCHEDULES = {"openpose": (110, 1e-2), "spiga": (50, 3e-3), "sbr": (130, 1e-2), "integral": (130, 1e-2)}
"""Steps and peak learning rate in which each fits eight faces."""


def light(name: str, imagenet: bool = False, **overrides: Any) -> Landmarker:
    """The shipped light form, on crops of a quarter of its pixels; SPIGA has no ImageNet weights."""
    if name != "spiga":
        overrides["pretrained"] = "package" if imagenet else False
    return configured(f"{name}.yaml", f"{name}.quick.yaml", image_size=SIZE, **overrides)


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", STAGES)
class TestEveryLandmarker:
    def test_it_gives_every_stage(self, name: str) -> None:
        landmarker = light(name).eval()
        images = rand(2, 3, SIZE, SIZE)
        output = landmarker(images)
        assert output.stages.shape == (2, STAGES[name], 68, 2)
        assert output.stages.isfinite().all()
        torch.testing.assert_close(output.landmarks, output.stages[:, -1])
        again = landmarker(images.flip(0)).stages.flip(0)
        torch.testing.assert_close(again, output.stages, atol=1e-4, rtol=0)

    def test_every_parameter_has_a_gradient_from_the_last_stage_alone(self, name: str) -> None:
        """Plain DDP stops at a parameter without one, and a warper step uses nothing but the last stage."""
        landmarker = light(name).train()
        landmarker(rand(2, 3, SIZE, SIZE)).landmarks.square().mean().backward()
        assert [key for key, p in landmarker.named_parameters() if p.grad is None] == []

    def test_its_features_reach_the_first_layer(self, name: str) -> None:
        landmarker = light(name).train()
        features = landmarker.features(rand(2, 3, SIZE, SIZE))
        assert features.dim() == 4
        assert len(features) == 2
        features.square().mean().backward()
        first = next(landmarker.parameters())
        assert first.grad is not None
        assert first.grad.abs().sum() > 0

    def test_faces_of_no_weight_do_not_count(self, name: str) -> None:
        landmarker, (images, target) = light(name).eval(), drawn_crops(SIZE)
        output = landmarker(images)
        some = landmarker.loss(output, target, torch.tensor([1.0, 0.0, 0.0, 0.0]))
        torch.testing.assert_close(some, landmarker.loss(landmarker(images[:1]), target[:1]), rtol=1e-3, atol=1e-4)
        assert landmarker.loss(output, target, torch.zeros(4)) == 0

    def test_its_weights_come_back_from_a_file(self, name: str, tmp_path: Path) -> None:
        landmarker, path = light(name).eval(), tmp_path / "weights.pt"
        landmarker.fit_shapes(drawn_crops(SIZE)[1])
        torch.save(landmarker.state_dict(), path)
        again = light(name, weights=path).eval()
        images = rand(1, 3, SIZE, SIZE)
        torch.testing.assert_close(again(images).stages, landmarker(images).stages)

    def test_supervised_steps_lower_its_loss_on_drawn_faces(self, name: str) -> None:
        method = Supervised(light(name))
        silent(method)
        images, target = drawn_crops(SIZE)
        *losses, _ = train(method.landmarker, images, target, steps=12, rate=3e-3)
        assert losses[-1] < 0.7 * losses[0]

    def test_the_gradient_reaches_the_backbone_through_the_warp(self, name: str) -> None:
        method = FaceWarping(light(name)).train()
        silent(method)
        images, target = drawn_crops(SIZE)
        train(method.landmarker, images, target, steps=8, rate=3e-3)
        method.zero_grad()
        method.warper_loss(face_batch(images, target), face_batch(images.roll(1, 0))).backward()
        gradient = next(method.landmarker.parameters()).grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0

    @pytest.mark.real
    @pytest.mark.skipif(not REAL.is_dir(), reason="no real faces in ../shared/data")
    def test_it_fits_eight_real_faces(self, name: str) -> None:
        images, target = real_crops(SIZE)
        steps, rate = SCHEDULES[name]
        *_, nme = train(light(name, imagenet=True), images, target, steps, rate)
        assert nme < 1
