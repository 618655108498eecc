"""The method `fda`: a landmarker a band, their mean as pseudo landmarks, one that goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.faces import TrainBatch
from lightning_modules.augment.amplitude import swap_amplitude
from lightning_modules.methods import FDA
from lightning_modules.methods.pseudo import PseudoLandmarks
from tests.lightning_modules.methods.running import STEPS, Watch, fit, weights
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, silent, smooth_images


def make(**options: Any) -> FDA:
    return FDA(LinearLandmarker(), **{"bands": (0.05, 0.2, 0.4), "learning_rate": 3e-3, **options})


def pair() -> TrainBatch:
    source = face_batch(smooth_images(4).float(), shapes(4).float())
    return TrainBatch(source, face_batch(smooth_images(4, seed=1).float()))


class TestBands:
    def test_each_landmarker_learns_its_own_band(self) -> None:
        """Against the losses written out, each landmarker's gradient being its own loss's alone."""
        method, batch = make(), pair()
        loss = method.band_loss(batch)
        loss.backward()
        total = 0.0
        for landmarker, beta in zip(method.landmarkers, method.bands, strict=True):
            alone = LinearLandmarker()
            output = alone(swap_amplitude(batch.source.images, batch.target.images, beta))
            own = alone.loss(output, batch.source.landmarks)
            own.backward()
            total += float(own.detach())
            torch.testing.assert_close(landmarker.linear.weight.grad, alone.linear.weight.grad)
        assert float(loss.detach()) == pytest.approx(total, rel=1e-6)

    def test_a_run_has_two_parts(self, tmp_path: Path) -> None:
        method = make(keep=1.0)
        others = Watch(lambda m: (m.phase, weights(m.others), m.pseudo.current, weights(m.landmarker)))
        fit(method, tmp_path, 4, others)
        assert [phase for phase, *_ in others.seen] == ["bands"] * 2 * STEPS + ["pseudo"] * 2 * STEPS
        moved = [not torch.equal(a[1], b[1]) for a, b in zip(others.seen, others.seen[1:], strict=False)]
        assert moved == [True] * (2 * STEPS - 1) + [False] * 2 * STEPS
        assert all(not torch.equal(a[3], b[3]) for a, b in zip(others.seen, others.seen[1:], strict=False))
        assert [pseudo is None for _, _, pseudo, _ in others.seen] == [True] * 2 * STEPS + [False] * 2 * STEPS
        assert others.seen[2 * STEPS][2] is others.seen[-1][2]


class TestPseudo:
    def test_they_are_found_by_the_bands_mean(self) -> None:
        method, images = make().eval(), smooth_images(2).float()
        for landmarker in method.landmarkers[1:]:
            torch.nn.init.normal_(landmarker.linear.bias)
        mean = method.pseudo.finder(method)
        expected = sum(landmarker(images).landmarks for landmarker in method.landmarkers) / 3
        torch.testing.assert_close(mean(images).landmarks, expected)
        assert mean.image_size == SIZE

    def test_a_step_learns_labels_and_pseudo_landmarks_and_spares_the_others(self) -> None:
        method, batch = make(pseudo_weight=0.5, bands=(0.2,)), pair()
        silent(method)
        method.pseudo.current = PseudoLandmarks(shapes(4, seed=7).float() * SIZE, torch.tensor([2.0, 2.0, 0.0, 0.0]))
        loss = method.pseudo_loss(batch)
        photos = swap_amplitude(batch.source.images, batch.target.images, 0.2)
        found = LinearLandmarker()(torch.cat([photos, batch.target.images])).landmarks
        off = (found - torch.cat([batch.source.landmarks, shapes(4, seed=7).float()])).norm(dim=-1).mean(-1)
        expected = off[:4].mean() + 0.5 * (2 * off[4] + 2 * off[5]) / 4
        torch.testing.assert_close(loss, expected)
        with_others = make()
        with_others.pseudo.current = method.pseudo.current
        with_others.pseudo_loss(batch).backward()
        for parameter in with_others.others.parameters():  # on the graph, as plain ddp asks, and not moved
            assert parameter.grad.abs().max() == 0


def test_bands_are_drawn_for_each_photo(monkeypatch: Any) -> None:
    seen = []

    def swap(photos: Any, targets: Any, beta: Any) -> Any:
        seen.append(beta)
        return photos

    monkeypatch.setattr("lightning_modules.methods.fda.swap_amplitude", swap)
    method, batch = make(), pair()
    method.pseudo.current = PseudoLandmarks(shapes(4).float() * SIZE, torch.ones(4))
    for _ in range(20):
        method.pseudo_loss(batch)
    drawn = torch.cat(seen)
    assert set(drawn.tolist()) == set(torch.tensor(method.bands).tolist())
    assert any(len(betas.unique()) > 1 for betas in seen)
