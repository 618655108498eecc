"""Bidirectional learning: what each phase teaches whom, the perceptual terms, and which epoch does what."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.methods import BDL
from lightning_modules.methods.bdl import GENERATORS, IMAGE_DISCRIMINATORS, Rounds
from lightning_modules.methods.pseudo import PseudoLandmarks
from lightning_modules.translation import PatchDiscriminator, ResNetGenerator, Translator
from tests.lightning_modules.methods.adversaries import (
    TwoStages,
    pair_batch,
    stand_in_batch,
)
from tests.lightning_modules.methods.running import STEPS, Watch, fit
from tests.lightning_modules.methods.small import shapes, silent

EACH_ONCE = Rounds(count=1, translation=1, adaptation=1, self_training=1, renew=1)


def make(**options: Any) -> BDL:
    torch.manual_seed(3)
    translator = Translator(ResNetGenerator(4, 1), PatchDiscriminator(4, 2))
    given = {"rounds": EACH_ONCE, "translation_batch": 2, "pool_size": 3, "map_size": 32, "sigma": 1.0, "width": 4}
    return BDL(TwoStages(strength=0.5), translator, **{**given, **options})


def networks(method: BDL) -> dict[str, Tensor]:
    found = {
        "landmarker": method.landmarker,
        "discriminator": method.discriminators,
        "generators": method.translator.generators,
        "critics": method.translator.discriminators,
    }
    return {name: torch.cat([p.detach().flatten() for p in part.parameters()]) for name, part in found.items()}


def collected(method: BDL, monkeypatch: Any) -> list[tuple[Tensor, tuple[int, ...]]]:
    steps: list[tuple[Tensor, tuple[int, ...]]] = []
    monkeypatch.setattr(method, "update", lambda loss, *which: steps.append((loss, which)))
    return steps


def test_the_published_settings_are_the_defaults() -> None:
    method = BDL(TwoStages(), Translator(ResNetGenerator(4, 1), PatchDiscriminator(4)))
    assert (method.stage_weights, method.perceptual_weight, method.reconstruction_weight) == ((1e-3,), 0.1, 10.0)
    assert (method.rounds.count, method.translation_batch, method.translated_share) == (2, 1, 1.0)
    told = [(adam.defaults["lr"], adam.defaults["betas"]) for adam in method.further_optimizers()]
    assert told == [(1e-4, (0.9, 0.99)), (2e-4, (0.5, 0.999)), (2e-4, (0.5, 0.999))]


def test_each_phase_moves_its_own_networks(tmp_path: Path) -> None:
    method = make()
    before = networks(method)
    watch = Watch(lambda m: (m.phase, networks(m), m.landmarker.norm.running_mean.clone()))
    fit(method, tmp_path, 3, watch)
    moved = []
    for phase, after, _ in watch.seen[STEPS - 1 :: STEPS]:
        moved.append((phase, {name for name in after if not torch.equal(after[name], before[name])}))
        before = after
    assert moved == [
        ("translation", {"generators", "critics"}),
        ("adaptation", {"landmarker", "discriminator"}),
        ("self_training", {"landmarker", "discriminator"}),
    ]
    assert not watch.seen[STEPS - 1][2].any(), "translation leaves batch-norm alone"
    assert watch.seen[-1][2].any()


def test_rates_of_the_translators_fall_in_each_translation_phase(tmp_path: Path) -> None:
    method = make(rounds=Rounds(count=2, translation=2, adaptation=1, self_training=0, renew=1))
    watch = Watch(lambda m: [o.param_groups[0]["lr"] for o in m.optimizers()[GENERATORS:]])
    fit(method, tmp_path, 6, watch)
    assert STEPS == 2
    fall = [2e-4, 2e-4, 2e-4, 1e-4]  # from the middle of four steps on
    rates = [watch.seen[k] for k in (0, 1, 2, 3, 6, 7, 8, 9)]
    assert rates == [pytest.approx([rate] * 2) for rate in (*fall, *fall)]


def test_pseudo_landmarks_are_renewed(tmp_path: Path) -> None:
    method = make(rounds=Rounds(count=1, translation=0, adaptation=1, self_training=4, renew=2), keep=0.6)
    watch = Watch(lambda m: m.pseudo.current and m.pseudo.current.landmarks.clone())
    fit(method, tmp_path, 5, watch)
    of_epochs = watch.seen[::STEPS]
    assert of_epochs[0] is None
    assert torch.equal(of_epochs[1], of_epochs[2])
    assert not torch.equal(of_epochs[2], of_epochs[3])
    assert torch.equal(of_epochs[3], of_epochs[4])
    assert method.pseudo.current is not None
    assert method.pseudo.current.weights.tolist().count(0) == 2, "of five"


def test_the_perceptual_terms() -> None:
    """Mean squared difference of instance-normalised landmark maps, both directions summed."""
    method, batch = make().eval(), stand_in_batch(2)
    images = method.translator.translate(batch.source.images, batch.target.images)

    def seen(faces: Tensor) -> np.ndarray[Any, Any]:
        maps = method.discriminators[-1].maps(method(faces)).detach().double().numpy()
        mean, variance = maps.mean((2, 3), keepdims=True), maps.var((2, 3), keepdims=True)
        return (maps - mean) / np.sqrt(variance + 1e-5)

    def distance(a: Tensor, b: Tensor) -> float:
        return float(((seen(a) - seen(b)) ** 2).mean())

    there = distance(images.to_target, images.photos) + distance(images.to_source, images.stylised)
    back = distance(images.photos_again, images.photos) + distance(images.stylised_again, images.stylised)
    terms = method.perceptual_terms(images)
    assert there > 0.01
    assert terms["perceptual"].item() == pytest.approx(0.1 * there, rel=1e-3)
    assert terms["perceptual_reconstruction"].item() == pytest.approx(10 * back, rel=1e-3)


def test_a_translation_step_teaches_generators_what_the_landmarker_sees(monkeypatch: Any) -> None:
    method, batch = make().train(), pair_batch(2)
    logged, steps = silent(method), collected(method, monkeypatch)
    method.translate(batch.source.images, batch.target.images)
    (generators, first), (critics, second) = steps
    assert (first, second) == ((GENERATORS,), (IMAGE_DISCRIMINATORS,))
    names = ("adversarial", "cycle", "identity", "perceptual", "perceptual_reconstruction")
    assert generators.item() == pytest.approx(sum(logged[f"train/{name}"] for name in names), rel=1e-5)
    assert critics.item() == pytest.approx(logged["train/discriminators"])
    generators.backward(retain_graph=True)
    assert all(p.grad is None for p in method.landmarker.parameters())
    assert all(p.grad is None for p in method.translator.discriminators.parameters())
    assert all(p.requires_grad for p in method.parameters())
    assert method.landmarker.training
    # The landmarker passes the gradient on.
    images = method.translator.translate(batch.source.images, batch.target.images)
    terms = method.perceptual_terms(images)
    (gradient,) = torch.autograd.grad(terms["perceptual"], images.to_target)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_adaptation_learns_from_translated_photos(monkeypatch: Any, share: float) -> None:
    method, batch = make(translated_share=share).train(), pair_batch(4)
    silent(method)
    steps = collected(method, monkeypatch)
    monkeypatch.setattr(BDL, "phase", "adaptation")
    torch.manual_seed(1)
    chosen = torch.rand(4) < share
    torch.manual_seed(1)
    method.training_step(batch, 0)
    (loss, which), (_, other) = steps
    assert (which, other) == ((), (1,))
    images = batch.source.images.clone()
    images[chosen] = method.translator.to_target(images[chosen]).detach()
    stages = method.landmarker(torch.cat([images, batch.target.images])).stages
    supervised = (stages[:4] - batch.source.landmarks[:, None]).norm(dim=-1).mean()
    torch.testing.assert_close(loss, supervised + method.deceiving_loss(stages[4:]))


def test_self_training_adds_the_confident_faces(monkeypatch: Any) -> None:
    method, batch = make(translated_share=0.0, pseudo_weight=0.5).train(), pair_batch(4)
    silent(method)
    steps = collected(method, monkeypatch)
    monkeypatch.setattr(BDL, "phase", "self_training")
    pseudo, trust = shapes(4, seed=9).float(), torch.tensor([2.0, 0.0, 1.0, 1.0])
    method.pseudo.current = PseudoLandmarks(method.image_size * pseudo, trust)
    method.training_step(batch, 0)
    stages = method.landmarker(torch.cat([batch.source.images, batch.target.images])).stages
    errors = (stages - torch.cat([batch.source.landmarks, pseudo])[:, None]).norm(dim=-1).mean((1, 2))
    expected = errors[:4].mean() + 0.5 * (trust * errors[4:]).sum() / 4 + method.deceiving_loss(stages[4:])
    torch.testing.assert_close(steps[0][0], expected)


def test_rounds_follow_each_other_and_the_last_phase_lasts() -> None:
    rounds = Rounds(count=2, translation=1, adaptation=2, self_training=2)
    once = [("translation", 0), ("adaptation", 0), ("adaptation", 1), ("self_training", 0), ("self_training", 1)]
    assert [rounds.place(epoch) for epoch in range(12)] == [*once, *once, ("self_training", 2), ("self_training", 3)]


def test_the_published_number_of_rounds_fills_300_epochs() -> None:
    rounds = Rounds()
    assert rounds.place(149) == ("self_training", 64)
    assert rounds.place(150) == ("translation", 0)
    assert rounds.place(299) == ("self_training", 64)


@pytest.mark.parametrize(
    "numbers", [{"count": 0}, {"renew": 0}, {"translation": -1}, {"adaptation": 0, "self_training": 0}]
)
def test_what_makes_no_sense_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Rounds\\("):
        Rounds(**numbers)
