"""HRNet and STAR learn, with labels and through the warp, under the methods that train landmarkers."""

from typing import Any

import pytest
import torch

from lightning_modules.landmarkers import STAR, HRNet, Landmarker
from lightning_modules.methods import FaceWarping, Supervised
from tests.lightning_modules.landmarkers.training import drawn_crops, train
from tests.lightning_modules.methods.small import face_batch, silent

SIZE = 64
KINDS: dict[str, tuple[type[Landmarker], dict[str, Any]]] = {
    "hrnet": (HRNet, {"image_size": SIZE, "backbone": "mobilenetv3_small_050", "feature_dim": 32}),
    "star": (STAR, {"image_size": SIZE, "channels": 16, "stacks": 2, "levels": 2}),
}


@pytest.fixture(params=list(KINDS))
def landmarker(request: pytest.FixtureRequest) -> Landmarker:
    torch.manual_seed(0)
    kind, arguments = KINDS[request.param]
    return kind(**arguments)


def test_supervised_steps_lower_its_loss(landmarker: Landmarker) -> None:
    method = Supervised(landmarker)
    logged = silent(method)
    images, target = drawn_crops(SIZE)
    before = 100 * (landmarker(images).landmarks - target).norm(dim=-1).mean().item()
    *losses, _ = train(landmarker, images, target, steps=40, rate=1e-2)
    assert losses[-1] < 0.75 * losses[0]
    after = 100 * (landmarker(images).landmarks - target).norm(dim=-1).mean().item()
    assert after < 0.7 * before
    batch: Any = type("Batch", (), {"source": face_batch(images, target)})()
    assert method.training_step(batch, 0).item() == pytest.approx(logged["train/loss"])


def test_warper_steps_reach_the_first_layer_and_lower_their_loss(landmarker: Landmarker) -> None:
    """Photos warped onto others, by landmarks predicted in these: there is no gradient but the one through the warp."""
    images, target = drawn_crops(SIZE)
    train(landmarker, images, target, steps=40, rate=1e-2)
    method = FaceWarping(landmarker, anchor_weight=0.0).train()
    silent(method)
    method.train_batch_norm(train=False)
    source, stylised = face_batch(images, target), face_batch(images.roll(1, 0))
    optimizer = torch.optim.Adam(landmarker.parameters(), 1e-4)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = method.warper_loss(source, stylised)
        loss.backward()
        gradient = next(landmarker.parameters()).grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) / 2 < losses[0]


def test_the_published_estimate_of_hrnet_has_no_gradient() -> None:
    kind, arguments = KINDS["hrnet"]
    output = kind(**arguments, estimate="peak")(torch.rand(1, 3, SIZE, SIZE))
    assert not output.stages.requires_grad
    assert output.heatmaps.requires_grad
