"""The second stage: landmarks corrected together, from what lies around all of them."""

import pytest
import torch
from torch import Tensor

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.landmarkers import Integral
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.landmarkers.shape_stage import ShapeStage
from tests.lightning_modules.landmarkers.training import rand

FACE = torch.tensor(MEAN_FACE) * 0.8 + 0.1
SMALL = {"image_size": 64, "backbone": "mobilenetv3_small_050", "feature_dim": 32}


def moved(stage: ShapeStage) -> ShapeStage:
    """With offsets as a trained one has."""
    torch.nn.init.normal_(stage.offset.weight, std=0.1)
    return stage


def test_at_first_it_changes_nothing() -> None:
    found = ShapeStage(8, rounds=3)(rand(2, 8, 16, 16), FACE.expand(2, -1, -1), torch.full((2, NUM_LANDMARKS), 0.01))
    assert found.shape == (2, 3, NUM_LANDMARKS, 2)
    assert torch.equal(found, FACE.expand(2, 3, -1, -1))


def test_a_landmark_that_flew_off_comes_back() -> None:
    """From the other landmarks alone: the features say nothing here."""
    torch.manual_seed(0)
    stage = ShapeStage(4, rounds=1, dim=32, layers=1)
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    features, doubt = torch.zeros(16, 4, 8, 8), torch.full((16, NUM_LANDMARKS), 0.01)

    def faces() -> tuple[Tensor, Tensor]:
        """Faces somewhere in the crop, and the same with one landmark each far off."""
        true = FACE * torch.empty(16, 1, 1).uniform_(0.7, 1.0) + torch.empty(16, 1, 2).uniform_(-0.1, 0.1)
        estimated = true.clone()
        estimated[torch.arange(16), torch.randint(NUM_LANDMARKS, (16,))] += 0.2 * torch.randn(16, 2)
        return true, estimated

    for _ in range(300):
        true, estimated = faces()
        loss = (stage(features, estimated, doubt)[:, -1] - true).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    true, estimated = faces()
    off = (estimated - true).norm(dim=-1)
    left = (stage(features, estimated, doubt)[:, -1] - true).norm(dim=-1)
    assert left[off > 0.1].mean() < 0.5 * off[off > 0.1].mean()


def test_every_landmark_is_seen_by_every_other() -> None:
    stage = moved(ShapeStage(8))
    features, doubt = rand(1, 8, 16, 16), torch.full((1, NUM_LANDMARKS), 0.01)
    one, other = FACE[None].clone(), FACE[None].clone()
    other[0, 0, 0] += 0.1
    change = (stage(features, one, doubt) - stage(features, other, doubt))[0, -1, 1:]
    assert (change.norm(dim=-1) > 0).all()


def test_rounds_learn_by_themselves() -> None:
    """A round's gradient reaches the features but no earlier estimate."""
    stage, features = moved(ShapeStage(8)), rand(1, 8, 16, 16).requires_grad_()
    landmarks = FACE[None].clone().requires_grad_()
    doubt = torch.full((1, NUM_LANDMARKS), 0.01, requires_grad=True)
    stage(features, landmarks, doubt).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert landmarks.grad is None
    assert doubt.grad is None


def test_windows_shrink_from_round_to_round(monkeypatch: pytest.MonkeyPatch) -> None:
    reaches: list[float] = []

    def sample(features: Tensor, centres: Tensor, reach: float, points: int) -> Tensor:
        reaches.append(reach)
        return features.new_zeros(len(features), NUM_LANDMARKS, features.shape[1], points, points)

    monkeypatch.setattr("lightning_modules.landmarkers.shape_stage.sample_windows", sample)
    stage = ShapeStage(4, rounds=3, reach=0.1, shrink=0.5)
    stage(rand(1, 4, 8, 8), FACE[None], torch.zeros(1, NUM_LANDMARKS))
    assert reaches == pytest.approx([0.1, 0.05, 0.025])


class TestInTheLandmarker:
    def test_its_rounds_are_stages(self) -> None:
        landmarker = Integral(**SMALL, shape_rounds=2)
        output = landmarker(rand(2, 3, 64, 64))
        assert output.stages.shape == (2, 3, NUM_LANDMARKS, 2)
        landmarker.loss(output, FACE.expand(2, -1, -1)).backward()
        assert [name for name, p in landmarker.named_parameters() if p.grad is None] == []

    def test_without_it_the_weights_are_as_before(self) -> None:
        """Checkpoints from before it was there still fit."""
        assert [name for name in Integral(**SMALL).state_dict() if name.startswith("shape_stage")] == []

    def test_the_loss_adds_the_corrections_error(self) -> None:
        landmarker = Integral(**SMALL, shape_rounds=2, landmark_weight=1.0, uncertainty_weight=0.0)
        output = landmarker(rand(2, 3, 64, 64))
        target, before = FACE.expand(2, -1, -1), output.stages.clone()
        interocular = (target[:, 36] - target[:, 45]).norm(dim=-1)
        first = landmarker.loss(output, target)
        output.stages[:, 1:] += torch.tensor([0.03, 0.04])  # both rounds, every landmark: 0.05 further right and down
        change = landmarker.loss(output, target) - first
        wanted = [
            ((s - target).norm(dim=-1).mean(-1) / interocular).mean()
            for s in (before[:, 1:], output.stages[:, 1:])
            for s in s.unbind(1)
        ]
        torch.testing.assert_close(change, sum(wanted[2:]) / 2 - sum(wanted[:2]) / 2)

    def test_in_half_precision_coordinates_stay_exact(self) -> None:
        landmarker = Integral(**SMALL, shape_rounds=1)
        with torch.autocast("cpu", torch.bfloat16):
            assert landmarker(rand(1, 3, 64, 64)).stages.dtype == torch.float32
