"""Pictures of the warp: when they are written, which faces they show, and how the field is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from callbacks.drawing import SYNTHETIC
from callbacks.warp_pictures import COLUMNS, FIELD_COLUMNS, FieldPicture, WarpPictures, draw_warps, spread
from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule
from lightning_modules.methods import FaceWarping, Supervised
from lightning_modules.methods.base import FaceMethod
from lightning_modules.warping import PolyharmonicSpline, WarperObjective
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes


def data(target: bool = True) -> SettingDataModule:
    photos = SyntheticDataModule("photo", train_count=6, test_count=1, name="photos", size=64)
    art = SyntheticDataModule("painting", train_count=3, test_count=1, name="art", size=64)
    return SettingDataModule(
        [photos], [art] if target else [], [photos], root="files", image_size=SIZE, batch_size=2, steps_per_epoch=1
    )


def fit(method: FaceMethod, root: Path, epochs: int, callback: WarpPictures, target: bool = True) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=root,
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(method, datamodule=data(target))


def pictures(root: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((root / "pictures").glob("*"))}


def panel(picture: Figure, row: int, column: int) -> Axes:
    columns = sum(bool(axes.get_title()) for axes in picture.axes)
    return picture.axes[row * columns + column]


def image(panel: Axes) -> np.ndarray:
    return np.asarray(panel.images[0].get_array()).astype(int)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    return (image.permute(1, 2, 0) * 255).round().numpy()


def test_pictures_of_the_start_and_of_chosen_epochs_and_the_last(tmp_path: Path) -> None:
    fit(FaceWarping(LinearLandmarker(), warper_epochs=5), tmp_path, 5, WarpPictures(every_n_epochs=2, pairs=2))
    assert list(pictures(tmp_path)) == ["epoch002", "epoch004", "epoch005", "start"]


def test_the_same_faces_every_time(tmp_path: Path) -> None:
    """With a landmarker that does not learn, pictures are the same, whatever was trained on between."""
    frozen = FaceWarping(LinearLandmarker(), warper_epochs=9, warper_learning_rate=0.0, freeze_batch_norm=True)
    fit(frozen, tmp_path / "frozen", 2, WarpPictures(pairs=2))
    first, *others = pictures(tmp_path / "frozen").values()
    assert len(others) == 2
    assert all(np.array_equal(first, other) for other in others)
    fit(FaceWarping(LinearLandmarker(), warper_epochs=9, warper_learning_rate=0.01), tmp_path, 1, WarpPictures())
    start, end = pictures(tmp_path)["start"], pictures(tmp_path)["epoch001"]
    assert start.shape[0] > first.shape[0]  # six pairs asked for, three target faces there
    assert not np.array_equal(start, end)


def test_no_pictures_without_a_target(tmp_path: Path) -> None:
    fit(Supervised(LinearLandmarker()), tmp_path, 1, WarpPictures(), target=False)
    assert not (tmp_path / "pictures").exists()


def test_pairs_are_spread_over_the_sets() -> None:
    assert spread(data().source_faces, 3, SIZE).indices.tolist() == [0, 2, 5]
    assert spread(data().source_faces, 9, SIZE).indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_pictures_are_sent_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, *what, **more: sent.append((*what, more)))
    module, method = data(), FaceWarping(LinearLandmarker())

    class Training:
        default_root_dir, is_global_zero, current_epoch, max_epochs = str(tmp_path), True, 0, 1
        loggers = (WandbLogger(offline=True, save_dir=tmp_path),)
        datamodule = module

    module.setup("fit")
    WarpPictures(pairs=1).on_train_start(Training(), method)  # type: ignore[arg-type]
    assert sent == [("warp", [str(tmp_path / "pictures/start.png")], {"caption": ["start"]})]


class Knows(torch.nn.Module):
    """Answers with given landmarks, in evaluation mode only."""

    def __init__(self, landmarks: torch.Tensor) -> None:
        super().__init__()
        self.landmarks = landmarks

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return self.landmarks[: len(images)]


def test_the_panels_of_a_pair() -> None:
    """Predictions that equal the photo's labels leave the photo as it is; training goes on in the mode it was in."""
    method = Knows(shapes(2).float()).train()
    images = torch.rand(2, 3, SIZE, SIZE)
    faces = torch.rand(2, 3, SIZE, SIZE)
    picture = draw_warps(method, face_batch(images, method.landmarks), face_batch(faces), SYNTHETIC)
    assert method.training
    assert [axes.get_title() for axes in picture.axes if axes.get_title()] == [*COLUMNS, FIELD_COLUMNS["grid"]]
    assert [text.get_text() for text in picture.texts] == [SYNTHETIC]
    for row in range(2):
        for column, shown in enumerate((images, faces, images, images, images)):
            np.testing.assert_allclose(image(panel(picture, row, column)), as_bytes(shown[row]), atol=1)


@pytest.mark.parametrize("how", ["grid", "quiver", "colours", "none"])
def test_the_field_is_shown_as_chosen(how: FieldPicture) -> None:
    method = Knows(shapes(1, spread=0.0).float())
    photos = face_batch(torch.rand(1, 3, 48, 48), method.landmarks + torch.tensor([0.1, 0.0]))
    faces = face_batch(torch.rand(1, 3, 48, 48))
    picture = draw_warps(method, photos, faces, field_picture=how)
    if how == "none":
        assert len(picture.axes) == len(COLUMNS)
        return
    shown = image(panel(picture, 0, 4))
    if how == "colours":
        assert (shown == shown[0, 0]).all(), "all to the right, as far as any"
    else:
        background = photos if how == "grid" else faces
        np.testing.assert_array_equal(shown, as_bytes(background.images[0]))


def test_the_field_is_the_methods_own() -> None:
    """A warper that smooths everything but the affine part away."""
    landmarks = shapes(1).float()
    method, plain = Knows(shapes(1, seed=1).float()), Knows(shapes(1, seed=1).float())
    method.warper = WarperObjective(smoothing=1e6)
    photos, faces = face_batch(torch.rand(1, 3, 64, 64), landmarks), face_batch(torch.rand(1, 3, 64, 64))
    affine = PolyharmonicSpline.fit(method.landmarks, landmarks, smoothing=1e6).warp(photos.images)
    expected = as_bytes(affine[0])
    assert np.abs(image(panel(draw_warps(method, photos, faces), 0, 2)) - expected).max() <= 1
    assert np.abs(image(panel(draw_warps(plain, photos, faces), 0, 2)) - expected).max() > 20


def test_an_unknown_field_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="field is 'wheel'; expected one of grid, quiver, colours, none"):
        WarpPictures(field="wheel")  # type: ignore[arg-type]
