"""Gradient reversal as a method: what a step's gradients are, who moves, and that runs resume exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.methods import RevGrad
from lightning_modules.methods.revgrad import reversal_strength
from tests.lightning_modules.methods.adversaries import (
    TwoStages,
    descend,
    pair_batch,
    stand_in_batch,
    whole_and_resumed,
)
from tests.lightning_modules.methods.running import STEPS, Watch, fit, weights
from tests.lightning_modules.methods.small import silent


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


def test_the_first_step_is_not_yet_reversed(tmp_path: Path) -> None:
    """λ is 0 at first: then the labels alone move the landmarker; later it matters."""
    ends = [], []
    for weight in (0.0, 10.0):
        method = make(domain_weight=weight, gradient_clip_norm=None)
        watch = Watch(lambda m: parts(m)[0])
        fit(method, tmp_path, 2, watch)
        ends[0].append(watch.seen[0])
        ends[1].append(watch.seen[-1])
    assert torch.equal(*ends[0])
    assert not torch.equal(*ends[1])


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


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # that is what resuming means
def test_a_resumed_run_ends_where_a_whole_one_does(tmp_path: Path) -> None:
    whole, resumed = whole_and_resumed(lambda: make(dropout=0.5), tmp_path)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.scores == resumed.scores
