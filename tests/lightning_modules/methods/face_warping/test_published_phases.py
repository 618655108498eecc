"""The published phases: plain frontal pairs, then one mixed set whose target crops follow pseudo landmarks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.exact_resume import ExactResume
from datamodules.datasets import SyntheticDataModule
from datamodules.faces import TrainBatch
from datamodules.setting import SettingDataModule
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.methods import FDA, FaceWarping
from lightning_modules.methods.pseudo import PseudoLandmarks
from lightning_modules.warping.objective import WarperObjective
from tests.lightning_modules.methods.running import fit, last_checkpoint
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes, silent, smooth_images

PHOTOS, ART = 6, 5
CYCLE = {"warper_epochs": 1, "proximal_epochs": 2}
EVERY_EPOCH = {"reload_dataloaders_every_n_epochs": 1}


def drawn(**options: Any) -> SettingDataModule:
    """Six photos, of which :data:`FRONTAL` are frontal, and five paintings."""
    photos = SyntheticDataModule("photo", train_count=PHOTOS, test_count=2, name="photos", size=48, seed=2)
    art = SyntheticDataModule("painting", train_count=ART, test_count=2, name="art", size=48)
    return SettingDataModule([photos], [art], [photos], root="files", image_size=SIZE, batch_size=2, **options)


FRONTAL = drawn().source_faces.frontal()


def published(**options: Any) -> FaceWarping:
    mixed = {"mixed": True, "target_boxes": True, "warper_plain": True, "warper_frontal": True}
    return FaceWarping(LinearLandmarker(), WarperObjective(gradient_through_warp=False), **CYCLE, **mixed, **options)


class Batches(Callback):
    """Notes the phase, the batch, and the boxes of the pseudo landmarks, of each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, TrainBatch, np.ndarray | None]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        method = cast(FaceWarping, pl_module)
        boxes = None if method.pseudo.current is None else method.pseudo.current.boxes()
        self.seen.append((method.phase, batch, boxes))

    def of(self, phase: str) -> list[TrainBatch]:
        return [batch for name, batch, _ in self.seen if name == phase]


def plain_matrix(box: np.ndarray) -> np.ndarray:
    """The crop of side 1.2 × the longer side, written out."""
    scale = SIZE / (1.2 * max(box[2] - box[0], box[3] - box[1]))
    return np.array(
        [[scale, 0, SIZE / 2 - scale * (box[0] + box[2]) / 2], [0, scale, SIZE / 2 - scale * (box[1] + box[3]) / 2]]
    )


class TestEpochs:
    def test_each_phase_draws_its_own_batches_and_its_own_number_of_them(self, tmp_path: Path) -> None:
        assert 0 < len(FRONTAL) < PHOTOS
        watch = Batches()
        fit(published(), tmp_path, 6, watch, data=drawn(), **EVERY_EPOCH)
        warper, proximal = watch.of("warper"), watch.of("proximal")
        assert [len(warper), len(proximal)] == [2 * (min(len(FRONTAL), ART) // 2), 4 * ((PHOTOS + ART) // 2)]
        assert {index for batch in warper for index in batch.source.indices.tolist()} <= set(FRONTAL)
        assert {len(batch.source) for batch in warper} == {len(batch.target) for batch in warper} == {2}
        sizes = [(len(batch.source), 0 if batch.target is None else len(batch.target)) for batch in proximal]
        assert {a + b for a, b in sizes} == {2}
        assert len(set(sizes)) > 1
        assert {index for batch in proximal for index in batch.source.indices.tolist()} == set(range(PHOTOS))

    def test_crops_are_plain_in_the_warper_phase_alone(self, tmp_path: Path) -> None:
        watch = Batches()
        fit(published(), tmp_path, 2, watch, data=drawn(), **EVERY_EPOCH)
        for batch in watch.of("warper"):
            for part in (batch.source, batch.target):
                assert not part.matrices[:, 0, 1].any()
                assert (part.matrices[:, 0, 0] > 0).all()
        turned = torch.cat([batch.source.matrices for batch in watch.of("proximal")])
        assert turned[:, 0, 1].abs().min() > 0

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes", "ignore:.*use of fork")
    def test_a_target_face_is_cropped_to_the_box_of_its_pseudo_landmarks(self, tmp_path: Path, workers: int) -> None:
        """Exactly 1.2 × it where nothing is augmented, whatever the loader's processes, in every cycle anew."""

        class Plain(FaceWarping):
            def draws(self) -> Any:
                return _plain(super().draws())

        method = Plain(LinearLandmarker(), **CYCLE, mixed=True, target_boxes=True)
        watch = Batches()
        fit(method, tmp_path, 6, watch, data=drawn(num_workers=workers), **EVERY_EPOCH)
        cropped = 0
        for phase, batch, boxes in watch.seen:
            if phase == "proximal" and batch.target is not None:
                for index, matrix in zip(batch.target.indices.tolist(), batch.target.matrices.numpy(), strict=True):
                    np.testing.assert_allclose(
                        matrix, plain_matrix(boxes[index].astype(np.float64)), rtol=1e-5, atol=1e-4
                    )
                    cropped += 1
        assert cropped > 10
        first, last = (boxes for phase, _, boxes in (watch.seen[10], watch.seen[-1]) if phase == "proximal")
        assert not np.array_equal(first, last)

    def test_a_trainer_that_keeps_its_loader_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="reload_dataloaders_every_n_epochs=1"):
            fit(published(), tmp_path, 1, data=drawn())

    def test_mixing_needs_no_pairs(self) -> None:
        for options in ({"optimization": "joint"}, {"exaggeration": Exaggeration()}):
            with pytest.raises(ValueError, match="mixed=True needs"):
                published(**options)

    def test_without_a_frontal_photo_the_setting_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("datamodules.faces.FRONTAL_TURN", -1.0)
        with pytest.raises(ValueError, match=r"none of the 6 source photos is frontal.*warper_frontal=false"):
            fit(published(), tmp_path, 1, data=drawn(), **EVERY_EPOCH)

    def test_another_method_crops_to_them_as_well(self, tmp_path: Path) -> None:
        """In the second of two epochs; the crops of the first are the faces' own."""
        watch, data = Batches(), drawn()
        fit(FDA(LinearLandmarker(), bands=[0.05], target_boxes=True), tmp_path, 2, watch, data=data)
        own = np.full((ART, 4), [-0.5, -0.5, 47.5, 47.5]) + np.array([1, 1, -1, -1]) * 48 * (1 - 1 / 1.2) / 2
        for phase, batch, boxes in watch.seen:
            wanted = own if phase == "bands" else boxes
            for index, matrix in zip(batch.target.indices.tolist(), batch.target.matrices.numpy(), strict=True):
                # What augmentation adds is at most 15 % in scale and, turned, 6 % and 8 % in place.
                box = wanted[index]
                middle = matrix[:, :2] @ (box[:2] + box[2:]) / 2 + matrix[:, 2]
                assert np.abs(middle - SIZE / 2).max() < 0.15 * SIZE
                scale = np.sqrt(abs(np.linalg.det(matrix[:, :2]))) / plain_matrix(box)[0, 0]
                assert 0.84 < scale < 1.16


def _plain(draws: Any) -> Any:
    return type(draws)(**{**vars(draws), "plain": True})


class TestMixedLoss:
    @pytest.mark.parametrize(("photos", "faces"), [(1, 3), (0, 2), (2, 0)])
    def test_it_is_the_mean_over_the_faces_of_a_batch(self, photos: int, faces: int) -> None:
        method = FaceWarping(LinearLandmarker(), mixed=True).double().eval()
        silent(method)
        source = face_batch(smooth_images(4, seed=1)[:photos], shapes(4)[:photos])
        target = face_batch(smooth_images(4, seed=2)[:faces]) if faces else None
        pseudo = shapes(4, seed=5)
        method.pseudo.current = PseudoLandmarks((pseudo * SIZE).float(), torch.ones(4))
        labels = torch.cat([shapes(4)[:photos], pseudo[:faces]])
        images = torch.cat([source.images, *([] if target is None else [target.images])])
        predicted = method(images).detach()
        expected = (predicted - labels).norm(dim=-1).mean()
        torch.testing.assert_close(method.proximal_loss(source, target).detach(), expected, rtol=1e-5, atol=1e-6)


def run(
    root: Path, epochs: int, *callbacks: Callback, make: Callable[[], FaceWarping] = published, **options: Any
) -> FaceWarping:
    torch.manual_seed(5)
    method = make()
    fit(method, root, epochs, ExactResume(), *callbacks, data=drawn(), **EVERY_EPOCH, **options)
    return method


def same(a: FaceWarping, b: FaceWarping) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    assert torch.equal(a.pseudo.current.landmarks, b.pseudo.current.landmarks)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:The dirpath has changed from")
@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable", "ignore:Using ModelCheckpoint with manual")
class TestResume:
    """Epochs of different lengths and crops that follow the checkpoint's pseudo landmarks, bit for bit."""

    @pytest.mark.parametrize("epoch", range(1, 6))
    def test_after_any_epoch(self, tmp_path: Path, epoch: int) -> None:
        class Stop(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                trainer.should_stop = trainer.current_epoch == epoch - 1

        whole = run(tmp_path, 6)
        run(tmp_path, 6, last_checkpoint(tmp_path), Stop())
        same(whole, run(tmp_path, 6, resume=tmp_path / "last.ckpt"))

    def test_after_any_step(self, tmp_path: Path) -> None:
        """Also after the last step of an epoch, of either phase, before the next one of another length."""
        steps = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1, auto_insert_metric_name=False)
        whole = run(tmp_path, 4, steps)
        last = max(int(path.stem) for path in tmp_path.glob("*.ckpt"))
        assert last == 2 * (min(len(FRONTAL), ART) // 2) + 2 * ((PHOTOS + ART) // 2)
        for step in range(1, last + 1):
            same(whole, run(tmp_path, 4, resume=tmp_path / f"{step}.ckpt"))
