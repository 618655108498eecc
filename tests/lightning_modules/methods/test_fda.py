"""The method `fda`: a landmarker a band, their mean as pseudo landmarks, one that goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from datamodules.faces import TrainBatch
from lightning_modules.augment.amplitude import swap_amplitude
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods import FDA
from lightning_modules.methods.fda import BandMean
from lightning_modules.methods.pseudo import PseudoLandmarks, find_pseudo_landmarks
from tests.lightning_modules.methods.running import STEPS, Watch, fit, weights
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, silent, smooth_images


def make(**options: Any) -> FDA:
    return FDA(LinearLandmarker(), **{"bands": (0.05, 0.2, 0.4), "learning_rate": 3e-3, **options})


def pair() -> TrainBatch:
    source = face_batch(smooth_images(4).float(), shapes(4).float())
    return TrainBatch(source, face_batch(smooth_images(4, seed=1).float()))


def distance(a: Landmarker, b: Landmarker) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return float(torch.stack([(p.detach() - q.detach()).abs().max() for p, q in pairs]).max())


class TestBands:
    def test_each_landmarker_learns_its_own_band(self) -> None:
        """Against the losses written out, each landmarker's gradient being its own loss's alone."""
        method, batch = make(), pair()
        loss = method.band_loss(batch)
        loss.backward()
        total = 0.0
        for landmarker, beta in zip(method.landmarkers, method.bands, strict=True):
            alone = LinearLandmarker()
            assert batch.target is not None
            assert batch.source.landmarks is not None
            output = alone(swap_amplitude(batch.source.images, batch.target.images, beta))
            own = alone.loss(output, batch.source.landmarks)
            own.backward()
            total += float(own.detach())
            torch.testing.assert_close(landmarker.linear.weight.grad, alone.linear.weight.grad)  # type: ignore[union-attr]
        assert float(loss.detach()) == pytest.approx(total, rel=1e-6)

    def test_a_run_has_two_parts(self, tmp_path: Path) -> None:
        method = make(keep=1.0)
        others = Watch(
            lambda m: (
                m.phase,
                weights(m.others),
                m.pseudo.current and m.pseudo.current.landmarks,
                weights(m.landmarker),
            )
        )
        fit(method, tmp_path, 4, others)
        assert [phase for phase, *_ in others.seen] == ["bands"] * 2 * STEPS + ["pseudo"] * 2 * STEPS
        moved = [not torch.equal(a[1], b[1]) for a, b in zip(others.seen, others.seen[1:], strict=False)]
        assert moved == [True] * (2 * STEPS - 1) + [False] * 2 * STEPS
        assert all(not torch.equal(a[3], b[3]) for a, b in zip(others.seen, others.seen[1:], strict=False))
        assert [pseudo is None for _, _, pseudo, _ in others.seen] == [True] * 2 * STEPS + [False] * 2 * STEPS
        assert others.seen[2 * STEPS][2] is others.seen[-1][2]

    def test_all_start_where_the_landmarker_starts(self, tmp_path: Path) -> None:
        method = make(learning_rate=0.0)
        with torch.no_grad():
            method.landmarker.linear.weight.add_(1.0)  # a start that was loaded after the method was built
        assert distance(method.landmarker, method.others[0]) > 0.9  # type: ignore[arg-type]
        fit(method, tmp_path, 1)
        assert [distance(method.landmarker, other) for other in method.others] == [0, 0]  # type: ignore[arg-type]

    def test_one_band_is_one_landmarker(self, tmp_path: Path) -> None:
        method = make(bands=[0.2])
        assert len(method.configure_optimizers()) == 1
        trainer = fit(method, tmp_path, 2)
        assert trainer.global_step == 2 * STEPS
        assert method.pseudo.current is not None

    def test_each_gradient_is_clipped_by_itself(self, tmp_path: Path) -> None:
        method = make(gradient_clip_norm=1e-3)
        norms = Watch(lambda m: [float(torch.cat([p.grad.flatten() for p in n.parameters()]).norm()) for n in m.others])
        fit(method, tmp_path, 1, norms)
        assert norms.seen[0] == pytest.approx([1e-3, 1e-3], rel=1e-3)


class TestPseudo:
    def test_they_are_the_bands_mean(self, tmp_path: Path) -> None:
        method = make(keep=1.0)
        landmarks = []

        class Look(Callback):
            def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                if trainer.current_epoch == 1:
                    loader = trainer.datamodule.target_loader()  # type: ignore[attr-defined]
                    found = [
                        find_pseudo_landmarks(m, loader, 5, torch.device("cpu"), mirror_average=False)
                        for m in method.landmarkers
                    ]
                    landmarks.append(torch.stack([f.landmarks for f in found]))

        method.pseudo.mirror_average = False
        fit(method, tmp_path, 2, Look())
        assert method.pseudo.current is not None
        torch.testing.assert_close(method.pseudo.current.landmarks, landmarks[0].mean(0))
        assert (landmarks[0][0] - landmarks[0][1]).abs().max() > 0.1  # pixels: the bands are of different minds

    def test_the_mean_of_equals_is_itself(self) -> None:
        images = smooth_images(2).float()
        mean = BandMean([LinearLandmarker().eval(), LinearLandmarker().eval()])
        torch.testing.assert_close(mean(images).landmarks, LinearLandmarker().eval()(images).landmarks)
        assert mean.image_size == SIZE
        with pytest.raises(NotImplementedError, match="not trained"):
            mean.loss(mean(images), shapes(2))

    def test_a_step_learns_labels_and_pseudo_landmarks_and_spares_the_others(self) -> None:
        method, batch = make(pseudo_weight=0.5, bands=(0.2,)), pair()
        silent(method)
        method.pseudo.current = PseudoLandmarks(shapes(4, seed=7).float() * SIZE, torch.tensor([2.0, 2.0, 0.0, 0.0]))
        loss = method.pseudo_loss(batch)
        assert batch.target is not None
        assert batch.source.landmarks is not None
        photos = swap_amplitude(batch.source.images, batch.target.images, 0.2)
        found = LinearLandmarker()(torch.cat([photos, batch.target.images])).landmarks
        off = (found - torch.cat([batch.source.landmarks, shapes(4, seed=7).float()])).norm(dim=-1).mean(-1)
        expected = off[:4].mean() + 0.5 * (2 * off[4] + 2 * off[5]) / 4
        torch.testing.assert_close(loss, expected)
        with_others = make()
        with_others.pseudo.current = method.pseudo.current
        with_others.pseudo_loss(batch).backward()
        for parameter in with_others.others.parameters():  # on the graph, as plain ddp asks, and not moved
            assert parameter.grad is not None
            assert parameter.grad.abs().max() == 0

    def test_only_part_of_the_faces_is_kept(self, tmp_path: Path) -> None:
        method = make(keep=0.6)
        fit(method, tmp_path, 2)
        assert method.pseudo.current is not None
        assert (method.pseudo.current.weights > 0).sum() == 3  # of five


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
