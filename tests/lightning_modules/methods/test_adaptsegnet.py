"""Discriminators on landmarks as a method: its two losses, and who moves."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.methods import AdaptSegNet
from tests.lightning_modules.methods.adversaries import (
    TwoStages,
    descend,
    pair_batch,
    stand_in_batch,
)
from tests.lightning_modules.methods.running import STEPS, Watch, fit
from tests.lightning_modules.methods.small import LinearLandmarker, silent


def make(**options: Any) -> AdaptSegNet:
    torch.manual_seed(3)
    return AdaptSegNet(TwoStages(), **{"map_size": 32, "sigma": 1.0, "width": 4, **options})


def parts(method: AdaptSegNet) -> list[Tensor]:
    networks = (method.landmarker, method.discriminators)
    return [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]


def test_the_published_settings_are_the_defaults() -> None:
    method = AdaptSegNet(TwoStages())
    assert method.stage_weights == (2e-4, 1e-3)
    (adam,) = method.further_optimizers()
    assert (adam.defaults["lr"], adam.defaults["betas"]) == (1e-4, (0.9, 0.99))
    assert len(adam.param_groups[0]["params"]) == 2 * 10


def test_one_stage_has_one_discriminator() -> None:
    method = AdaptSegNet(LinearLandmarker(), map_size=32, width=4)
    assert (method.stage_weights, len(method.discriminators)) == ((1e-3,), 1)
    three = make()
    stages = torch.rand(2, 3, 68, 2)  # the last two of three
    expected = [judge(stages[:, k]) for judge, k in zip(three.discriminators, (1, 2), strict=True)]
    for found, wanted in zip(three._judge(stages), expected, strict=True):
        assert torch.equal(found, wanted)


def test_a_step_takes_both_losses_in_turn(monkeypatch: Any) -> None:
    method, batch = make(stage_weights=(0.2, 0.7)).train(), pair_batch(4)
    logged, steps = silent(method), []
    monkeypatch.setattr(method, "update", lambda loss, *which: steps.append((loss, which)))
    method.training_step(batch, 0)
    (landmarkers, where), (discriminators, there) = steps
    assert (where, there) == ((), (1,))

    output, supervised = method.pass_both(batch.source, batch.target.images)
    first, last = method.discriminators
    photos, drawings = output.stages[:4], output.stages[4:]
    deceiving = 0.2 * F.softplus(-first(drawings[:, 0])).mean() + 0.7 * F.softplus(-last(drawings[:, 1])).mean()
    torch.testing.assert_close(landmarkers, supervised + deceiving)
    telling = [
        (F.softplus(-judge(photos[:, k])).mean() + F.softplus(judge(drawings[:, k])).mean()) / 2
        for k, judge in enumerate((first, last))
    ]
    torch.testing.assert_close(discriminators, sum(telling))
    assert logged["train/telling"] == pytest.approx(float(discriminators.detach()))
    assert logged["train/deceiving"] == pytest.approx(float(deceiving.detach()))
    # The landmarker gets nothing from the discriminators' loss.
    gradients = torch.autograd.grad(discriminators, list(method.landmarker.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def test_each_update_moves_its_own_network(tmp_path: Path) -> None:
    for rate, other in ((0.0, 1e-2), (1e-3, 0.0)):
        method = make(learning_rate=rate, discriminator_learning_rate=other)
        before = parts(method)
        fit(method, tmp_path, 1)
        assert [not torch.equal(p, q) for p, q in zip(before, parts(method), strict=True)] == [rate > 0, other > 0]


def test_the_discriminators_rate_falls_as_a_power(tmp_path: Path) -> None:
    method = make()
    watch = Watch(lambda m: m.optimizers()[1].param_groups[0]["lr"])
    fit(method, tmp_path, 3, watch)
    total = 3 * STEPS
    assert watch.seen == pytest.approx([1e-4 * (1 - k / total) ** 0.9 for k in range(total)])


def test_deceiving_lowers_the_landmarkers_own_term() -> None:
    """Against discriminators that can tell, the landmarks on drawings become a photo's."""
    method, batch = make(width=8), stand_in_batch()
    photos, drawings = (method.landmarker(faces.images).stages for faces in (batch.source, batch.target))
    telling = descend(lambda: method.telling_loss(photos, drawings), method.discriminators, 3e-3)
    assert telling[0] == pytest.approx(2 * math.log(2), rel=0.05), "they start undecided"
    assert telling[-1] < 0.5 * telling[0]
    start = [p.clone() for p in method.discriminators.parameters()]
    losses = descend(
        lambda: method.deceiving_loss(method.landmarker(batch.target.images).stages), method.landmarker, 1e-3
    )
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(p, q) for p, q in zip(start, method.discriminators.parameters(), strict=True))
