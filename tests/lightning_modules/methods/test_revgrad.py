"""Gradient reversal as a method: what a step's gradients are, who moves, and what it takes of a landmarker."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.landmarkers.base import evaluating, frozen
from lightning_modules.methods import RevGrad
from lightning_modules.methods.adaptsegnet import stage_count
from lightning_modules.methods.revgrad import feature_channels, reversal_strength, reverse_gradient
from tests.lightning_modules.landmarkers.training import configured
from tests.lightning_modules.methods.adversaries import TwoStages, descend, pair_batch, stand_in_batch
from tests.lightning_modules.methods.running import STEPS, Watch, fit
from tests.lightning_modules.methods.small import LinearLandmarker, silent


def make(hands_out: bool = True, **options: Any) -> RevGrad:
    torch.manual_seed(3)
    return RevGrad(TwoStages(hands_out=hands_out), **{"width": 8, "dropout": 0.0, **options})


def parts(method: RevGrad) -> tuple[Tensor, Tensor]:
    found = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (method.landmarker, method.classifier)]
    return found[0], found[1]


@pytest.mark.parametrize("hands_out", [True, False])
def test_a_step_descends_labels_and_ascends_the_domain_loss(monkeypatch: Any, hands_out: bool) -> None:
    method, batch = make(hands_out, domain_weight=0.5).train(), pair_batch(4)
    logged, steps = silent(method), []
    monkeypatch.setattr(method, "update", lambda *arguments: steps.append(arguments))
    monkeypatch.setattr(RevGrad, "progress", 0.1)
    method.training_step(batch, 0)
    ((loss, *which),) = steps
    assert which == [0, 1]
    of_landmarker, of_classifier = list(method.landmarker.parameters()), list(method.classifier.parameters())
    found = torch.autograd.grad(loss, [*of_landmarker, *of_classifier])

    supervised = method.pass_both(batch.source, batch.target.images)[1]
    features = method.landmarker.features(torch.cat([batch.source.images, batch.target.images]))
    labels = torch.tensor([1.0] * 4 + [0.0] * 4)
    domain = torch.nn.functional.binary_cross_entropy_with_logits(method.classifier(features), labels)
    assert logged["train/domain_loss"] == pytest.approx(domain.item(), rel=1e-5)
    assert logged["train/loss"] == pytest.approx(supervised.item(), rel=1e-5)
    down = torch.autograd.grad(supervised, of_landmarker)
    up = torch.autograd.grad(domain, of_landmarker, retain_graph=True, allow_unused=True)
    strength = reversal_strength(0.1)
    for gradient, a, b in zip(found, down, up, strict=False):
        expected = a if b is None else a - 0.5 * strength * b
        torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-4)
    for gradient, b in zip(found[len(of_landmarker) :], torch.autograd.grad(domain, of_classifier), strict=True):
        torch.testing.assert_close(gradient, 0.5 * b, atol=1e-7, rtol=1e-4)


def test_each_part_moves_at_its_own_rate(tmp_path: Path) -> None:
    for rate, classifiers in ((0.0, 1e-2), (1e-3, 0.0)):
        method = make(learning_rate=rate, classifier_learning_rate=classifiers)
        before = parts(method)
        rates = Watch(lambda m: [o.param_groups[0]["lr"] for o in m.optimizers()])
        fit(method, tmp_path, 2, rates)
        assert [not torch.equal(p, q) for p, q in zip(before, parts(method), strict=True)] == [
            rate > 0,
            classifiers > 0,
        ]
        assert rates.seen[0] == [rate, classifiers]
        assert rates.seen[STEPS] == pytest.approx([rate / 2, classifiers / 2])


def test_the_classifier_learns_to_tell_stand_in_faces() -> None:
    method, batch = make(width=16), stand_in_batch()
    features = method.landmarker.features(torch.cat([batch.source.images, batch.target.images])).detach()
    losses = descend(lambda: method.domain_loss(features, 8, 1.0), method.classifier, 2e-2)
    assert losses[0] == pytest.approx(0.69, abs=0.1), "it starts undecided"
    assert losses[-1] < 0.5 * losses[0]


def test_reversal_brings_features_of_drawings_to_those_of_photos() -> None:
    """Darker drawings: how far the mean features of both kinds lie apart, with and without the reversed gradient."""
    distances = []
    for strength in (0.0, 1.0):
        method, batch = make(width=16).train(), pair_batch(8)
        images = torch.cat([batch.source.images, batch.target.images])
        slow = {"params": method.landmarker.conv.parameters(), "lr": 1e-3}
        optimizer = torch.optim.Adam([slow, {"params": method.classifier.parameters()}], 2e-2, betas=(0.0, 0.9))
        apart = []
        for _ in range(80):
            found = method.landmarker.features(images)
            optimizer.zero_grad()
            method.domain_loss(found, 8, strength).backward()
            optimizer.step()
            means = found.detach().mean((2, 3))
            apart.append(float((means[:8].mean(0) - means[8:].mean(0)).norm()))
        distances.append(sum(apart[-10:]) / apart[0] / 10)
    assert distances[0] == pytest.approx(1)
    assert distances[1] < 0.5


def judge(features: Tensor, weights: Tensor) -> Tensor:
    return torch.sin(features * weights).square().sum()


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_gradient_below_is_multiplied_and_the_one_above_is_not(strength: float) -> None:
    features, weights = torch.randn(2, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    reversed_ = reverse_gradient(features, strength)
    assert torch.equal(reversed_, features)
    below, above = torch.autograd.grad(judge(reversed_, weights), (features, weights))
    plain_below, plain_above = torch.autograd.grad(judge(features, weights), (features, weights))
    torch.testing.assert_close(below, -strength * plain_below)
    assert torch.equal(above, plain_above)
    assert not reverse_gradient(features.detach(), strength).requires_grad


def test_the_strength_grows_from_nothing_to_one() -> None:
    # 2 / (1 + exp(-2x)) - 1 is the hyperbolic tangent of x.
    progress = [0.0, 0.05, 0.1, 0.5, 1.0]
    assert [reversal_strength(p) for p in progress] == pytest.approx([math.tanh(5 * p) for p in progress])
    assert reversal_strength(0.2, steepness=5) == pytest.approx(reversal_strength(0.1))


LANDMARKERS = {"slpt": 3, "hrnet": 1, "star": 2, "openpose": 2, "sbr": 2, "spiga": 3, "integral": 1}
"""Stages of the light forms."""


@pytest.mark.parametrize("name", LANDMARKERS)
def test_landmarkers_hand_out_their_shared_features(name: str) -> None:
    overrides = {} if name in ("star", "spiga") else {"pretrained": False}
    landmarker = configured(f"{name}.yaml", f"{name}.quick.yaml", image_size=64, **overrides).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = landmarker(images).features, landmarker.features(images)
    torch.testing.assert_close(found, expected)
    assert feature_channels(landmarker) == expected.shape[1]
    assert stage_count(landmarker) == LANDMARKERS[name]


def test_a_landmarker_is_measured_without_a_trace() -> None:
    landmarker = TwoStages(hands_out=False).train()
    before = {name: value.clone() for name, value in landmarker.state_dict().items()}
    assert (feature_channels(landmarker), stage_count(landmarker)) == (8, 2)
    assert landmarker.training
    assert all(torch.equal(value, before[name]) for name, value in landmarker.state_dict().items())
    with pytest.raises(NotImplementedError, match="LinearLandmarker has no features"):
        RevGrad(LinearLandmarker())


@pytest.mark.parametrize("fails", [False, True])
def test_modes_come_back_module_by_module_also_after_an_error(fails: bool) -> None:
    landmarker = TwoStages().train()
    landmarker.norm.eval()
    landmarker.first.requires_grad_(False)

    def modes() -> list[bool]:
        return [*(m.training for m in landmarker.modules()), *(p.requires_grad for p in landmarker.parameters())]

    before = modes()
    try:
        with evaluating(landmarker), frozen(landmarker):
            assert not any(modes())
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert modes() == before
