from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning import Trainer

from callbacks.drawing import enlarge, to_picture
from callbacks.field_drawing import draw_quiver
from callbacks.warp_pictures import COLUMNS, FieldPicture, WarpPictures, spread, warp_grid
from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule
from lightning_modules.methods import FaceWarping, Supervised
from lightning_modules.methods.base import FaceMethod
from lightning_modules.warping import PolyharmonicSpline, WarperObjective
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker, face_batch, shapes

TILE, GAP, BAR = 192, 4, 22
"""Tiles are brought to 192 pixels, with 4 white ones between them and a caption bar of 22 above (callbacks.drawing)."""

WIDTH = len(COLUMNS) + 1
"""Columns by default: the field has one too."""


def size_of(rows: int, columns: int = WIDTH) -> tuple[int, int, int]:
    return BAR + rows * (TILE + GAP) - GAP, columns * (TILE + GAP) - GAP, 3


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
    return {path.stem: cv2.imread(str(path)) for path in sorted((root / "pictures").glob("*"))}


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    y, x = BAR + row * (TILE + GAP), column * (TILE + GAP)
    return picture[y : y + TILE, x : x + TILE]


def test_pictures_of_the_start_and_of_chosen_epochs_and_the_last(tmp_path: Path) -> None:
    fit(FaceWarping(LinearLandmarker(), warper_epochs=5), tmp_path, 5, WarpPictures(every_n_epochs=2, pairs=2))
    written = pictures(tmp_path)
    assert list(written) == ["epoch002", "epoch004", "epoch005", "start"]
    for picture in written.values():
        assert picture.shape == size_of(rows=2)
        for row in range(2):
            for column in range(WIDTH):
                assert tile(picture, row, column).std() > 10  # not blank


def test_the_same_faces_every_time(tmp_path: Path) -> None:
    """With a landmarker that does not learn, pictures are the same byte for byte, whatever was trained on between."""
    frozen = FaceWarping(LinearLandmarker(), warper_epochs=9, warper_learning_rate=0.0, freeze_batch_norm=True)
    fit(frozen, tmp_path / "frozen", 2, WarpPictures(pairs=2))
    first, *others = pictures(tmp_path / "frozen").values()
    assert len(others) == 2
    assert all(np.array_equal(first, other) for other in others)
    # With one that learns, the photo and its labels stay, and what depends on predictions changes.
    fit(FaceWarping(LinearLandmarker(), warper_epochs=9, warper_learning_rate=0.01), tmp_path, 1, WarpPictures())
    start, end = pictures(tmp_path)["start"], pictures(tmp_path)["epoch001"]
    assert start.shape == size_of(rows=3)  # six pairs asked for, three target faces there
    for row in range(3):
        assert np.array_equal(tile(start, row, 0), tile(end, row, 0))
        assert not np.array_equal(tile(start, row, 2), tile(end, row, 2))


def test_no_pictures_without_a_target(tmp_path: Path) -> None:
    fit(Supervised(LinearLandmarker()), tmp_path, 1, WarpPictures(), target=False)
    assert not (tmp_path / "pictures").exists()


def test_pairs_are_spread_over_the_sets() -> None:
    assert spread(data().source_faces, 3, SIZE).indices.tolist() == [0, 2, 5]
    assert spread(data().source_faces, 9, SIZE).indices.tolist() == [0, 1, 2, 3, 4, 5]


class Knows(torch.nn.Module):
    """Answers with given landmarks, in evaluation mode only."""

    def __init__(self, landmarks: torch.Tensor) -> None:
        super().__init__()
        self.landmarks = landmarks

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return self.landmarks[: len(images)]


def test_the_third_column_is_the_photo_under_the_field() -> None:
    """Predictions that equal the photo's labels leave the photo as it is; training goes on in the mode it was in."""
    method = Knows(shapes(2).float()).train()
    images = torch.rand(2, 3, TILE, TILE)
    batch = face_batch(images, method.landmarks)
    picture = warp_grid(method, batch, face_batch(images), "SYNTHETIC")
    assert method.training
    assert picture.shape == size_of(rows=2)
    for row in range(2):
        expected = (images[row].permute(1, 2, 0) * 255).round().numpy()
        np.testing.assert_allclose(tile(picture, row, 2), expected, atol=1)
        np.testing.assert_array_equal(tile(picture, row, 0), tile(picture, row, 1))
        # The identity's grid is straight: white (cv2's thin lines, not all white) every sixteenth, the photo between.
        grid = tile(picture, row, 4)
        assert (grid[:: TILE // 16] >= 190).all()
        assert (grid[:, :: TILE // 16] >= 190).all()
        np.testing.assert_allclose(grid[6, 6], expected[6, 6], atol=1)
    # The caption says that the faces are drawn; without it the bar looks different.
    assert not np.array_equal(picture[:BAR], warp_grid(method, batch, face_batch(images))[:BAR])


def test_the_field_is_shown_as_chosen() -> None:
    method = Knows(shapes(1, spread=0.0).float())
    photos = face_batch(torch.rand(1, 3, 48, 48), method.landmarks + torch.tensor([0.1, 0.0]))
    faces = face_batch(torch.rand(1, 3, 48, 48))

    def column(how: FieldPicture) -> np.ndarray:
        picture = warp_grid(method, photos, faces, field_picture=how)
        assert picture.shape == size_of(rows=1)
        return tile(picture, 0, 4)

    field = PolyharmonicSpline.fit(method.landmarks, photos.landmarks).grid(48)[0]
    np.testing.assert_array_equal(column("quiver"), draw_quiver(field, 3, to_picture(faces.images[0])))
    red = column("colours")[20, 20].astype(int)  # all to the right, and as far as any
    assert red[0] > 250
    assert red[1:].max() < 60
    assert not np.array_equal(column("grid"), enlarge(to_picture(photos.images[0])))
    none = warp_grid(method, photos, faces, field_picture="none")
    assert none.shape == size_of(rows=1, columns=len(COLUMNS))


def test_the_field_is_the_methods_own() -> None:
    """A warper that smooths everything but the affine part away leaves no bend in the grid."""
    landmarks = shapes(1).float()
    method, plain = Knows(shapes(1, seed=1).float()), Knows(shapes(1, seed=1).float())
    method.warper = WarperObjective(smoothing=1e6)
    photos, faces = face_batch(torch.rand(1, 3, TILE, TILE), landmarks), face_batch(torch.rand(1, 3, TILE, TILE))
    affine = PolyharmonicSpline.fit(method.landmarks, landmarks, smoothing=1e6).warp(photos.images)
    expected = to_picture(affine[0]).astype(int)
    assert np.abs(tile(warp_grid(method, photos, faces), 0, 2) - expected).max() <= 1
    assert np.abs(tile(warp_grid(plain, photos, faces), 0, 2) - expected).max() > 20


def test_the_field_is_chosen_by_name(tmp_path: Path) -> None:
    callback = WarpPictures(pairs=1, field="none")
    fit(FaceWarping(LinearLandmarker(), warper_epochs=9), tmp_path, 1, callback)
    assert pictures(tmp_path)["start"].shape == size_of(rows=1, columns=len(COLUMNS))
    with pytest.raises(ValueError, match="field is 'wheel'; expected one of grid, quiver, colours, none"):
        WarpPictures(field="wheel")  # type: ignore[arg-type]
