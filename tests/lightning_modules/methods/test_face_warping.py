"""The paper's method: its gradient against finite differences, its losses against their definitions, its phases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.methods import FaceWarping
from lightning_modules.methods.pseudo import PseudoLandmarks
from lightning_modules.warping.losses import NoImageLoss, PixelMSE
from lightning_modules.warping.objective import WarperObjective
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, silent, smooth_images


def make(objective: WarperObjective | None = None, **options: Any) -> FaceWarping:
    """A method in float64 whose logs go nowhere."""
    method = FaceWarping(LinearLandmarker(), objective or WarperObjective(), **options).double()
    silent(method)
    return method


def pair(count: int = 3) -> tuple[FaceBatch, FaceBatch]:
    """Labelled photos and unlabelled stylised faces."""
    return face_batch(smooth_images(count, seed=1), shapes(count)), face_batch(smooth_images(count, seed=2))


def gradient(method: FaceWarping, source: FaceBatch, target: FaceBatch) -> Tensor:
    method.zero_grad()
    method.warper_loss(source, target).backward()
    return method.landmarker.linear.weight.grad.clone()


class TestWarperPhase:
    @pytest.mark.parametrize(
        ("objective", "options"),
        [
            ({}, {}),
            ({"coarse": None, "order": 3}, {}),
            ({"image_loss": PixelMSE()}, {"landmark_weight": 0.0}),
            ({"image_loss": NoImageLoss(), "smoothing": 0.05}, {"landmark_weight": 3.0}),
            ({}, {"anchor_weight": 0.5, "image_weight": 2.0}),
        ],
        ids=["paper", "every pixel, cubic", "pixels", "landmark-warping error", "anchored"],
    )
    def test_the_gradient_reaches_the_landmarker_through_the_warp(
        self, objective: dict[str, Any], options: dict[str, Any]
    ) -> None:
        """The published program's is None (DESIGN §5). Here: central differences along random directions."""
        method, (source, target) = make(WarperObjective(**objective), **options), pair()
        method.eval()
        found = gradient(method, source, target)
        weight = method.landmarker.linear.weight
        start = weight.detach().clone()
        assert found.abs().max() > 1e-6
        for seed in range(3):
            direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            values = []
            for step in (1e-8, -1e-8):  # so short that hardly a sample leaves its pixel, where sampling has a kink
                weight.data = start + step * direction
                values.append(float(method.warper_loss(source, target).detach()))
            numeric, analytic = (values[0] - values[1]) / 2e-8, float((found * direction).sum())
            assert analytic == pytest.approx(numeric, rel=1e-4)

    def test_without_gradient_through_the_warp_only_batch_norm_moves(self) -> None:
        """As published: the landmarker's gradient is exactly zero, and its statistics follow the stylised faces."""
        method, (source, target) = make(WarperObjective(gradient_through_warp=False)), pair()
        method.train()
        before = method.landmarker.norm.running_mean.clone()
        optimizer = torch.optim.Adam(method.landmarker.parameters(), lr=1e-1)
        parameters = [p.detach().clone() for p in method.landmarker.parameters()]
        assert not gradient(method, source, target).any()
        optimizer.step()
        for parameter, start in zip(method.landmarker.parameters(), parameters, strict=True):
            assert torch.equal(parameter, start)
        expected = 0.9 * before + 0.1 * target.images.mean((0, 2, 3))
        torch.testing.assert_close(method.landmarker.norm.running_mean, expected)

    def test_the_landmark_warping_error_counts_where_the_spline_smooths(self) -> None:
        source, target = pair()
        for smoothing, expected in ((0.0, False), (0.05, True)):
            losses = [
                make(WarperObjective(smoothing=smoothing), landmark_weight=weight).eval().warper_loss(source, target)
                for weight in (0.0, 1.0)
            ]
            difference = float((losses[1] - losses[0]).detach())
            assert (difference > 1e-6) == expected
            assert expected or abs(difference) < 1e-12

    def test_the_anchor_is_the_sources_own_loss(self) -> None:
        source, target = pair()
        plain, anchored = make().eval(), make(anchor_weight=0.7).eval()
        own = plain.landmarker.loss(plain.landmarker(source.images), source.landmarks)
        expected = plain.warper_loss(source, target) + 0.7 * own
        torch.testing.assert_close(anchored.warper_loss(source, target), expected)


class TestProximalPhase:
    weights = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)

    @pytest.mark.parametrize("pseudo_weight", [1.0, 0.3])
    def test_it_is_the_sum_of_two_mean_losses(self, pseudo_weight: float) -> None:
        method, (source, target) = make(pseudo_weight=pseudo_weight).eval(), pair()
        method.pseudo.current = PseudoLandmarks((shapes(3, seed=5) * SIZE).float(), self.weights.float())
        found = float(method.proximal_loss(source, target).detach())
        # Written out with numpy, face by face.
        distances = []
        for images, labels in ((source.images, source.landmarks), (target.images, shapes(3, seed=5))):
            predicted = method(images).detach().numpy()
            distances.append(np.linalg.norm(predicted - labels.numpy(), axis=-1).mean(-1))
        expected = distances[0].mean() + pseudo_weight * (self.weights.numpy() * distances[1]).sum() / 3
        assert found == pytest.approx(expected, rel=1e-6)

    def test_exaggerated_photos_take_the_place_of_their_share(self) -> None:
        method, (source, target) = make(exaggeration=Exaggeration(), exaggerated_share=0.5), pair(4)
        torch.manual_seed(1)
        chosen = torch.rand(4) < 0.5
        torch.manual_seed(1)
        found = method.stylization(source, target.images, shapes(4, seed=5), shapes(1)[0])
        assert torch.equal((found.images != source.images).flatten(1).any(1), chosen)
        assert torch.equal((found.landmarks != source.landmarks).flatten(1).any(1), chosen)
        assert 0 < chosen.sum() < 4
        assert make().stylization is None


class TestPhases:
    def test_alternating_epochs_by_algorithm_1(self) -> None:
        method = make(warper_epochs=2, proximal_epochs=3)
        phases = [method.phase_of(epoch) for epoch in range(10)]
        assert phases == (["warper"] * 2 + ["proximal"] * 3) * 2

    def test_published_cycle(self) -> None:
        phases = [make().phase_of(epoch) for epoch in range(300)]
        switches = [epoch for epoch in range(1, 300) if phases[epoch] != phases[epoch - 1]]
        assert switches == list(range(5, 300, 5))


class TestCheckpoints:
    def test_pseudo_landmarks_come_back_through_a_safe_load(self, tmp_path: Path) -> None:
        method = make(warper_epochs=1, proximal_epochs=1)
        method.landmarker_spec = {"class_path": "x.Y", "init_args": {"size": SIZE}}
        method.pseudo.current = PseudoLandmarks(torch.rand(5, 68, 2), torch.rand(5))
        method.pseudo.cycle = 3
        checkpoint: dict[str, Any] = {"state_dict": method.state_dict()}
        method.on_save_checkpoint(checkpoint)
        method.pseudo.on_save_checkpoint(None, method, checkpoint)
        torch.save(checkpoint, tmp_path / "last.ckpt")
        loaded = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert loaded["landmarker"] == method.landmarker_spec
        other = make(warper_epochs=1, proximal_epochs=1)
        other.pseudo.on_load_checkpoint(None, other, loaded)
        assert other.pseudo.current is not None
        assert torch.equal(other.pseudo.current.landmarks, method.pseudo.current.landmarks)
        assert torch.equal(other.pseudo.current.weights, method.pseudo.current.weights)
        assert other.pseudo.cycle == 3
