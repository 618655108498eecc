"""Pictures of what the warper does, on the same faces every time, so that progress can be seen."""

from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from typing_extensions import override

from callbacks.drawing import PAPER, draw_landmarks, grid_of, to_picture
from callbacks.field_drawing import draw_deformed_grid, draw_displacement, draw_quiver, draw_warped
from datamodules.faces import ByteArray, FaceBatch, FaceSet, collate
from datamodules.transforms import FaceTransform
from lightning_modules.warping import WarperObjective

COLUMNS = ("photo, labels", "stylised face, predictions", "photo warped onto it", "the same, predictions")
FieldPicture = Literal["grid", "quiver", "colours", "none"]
FIELD_COLUMNS: dict[FieldPicture, str] = {
    "grid": "its grid on the photo",
    "quiver": "displacement",
    "colours": "displacement",
}


class WarpPictures(Callback):
    """Writes one grid a chosen epoch: photo, stylised face, and the photo warped by the predicted landmarks.

    Each row is a pair. Landmarks are drawn over each: the photo's labels, the stylised face's predictions, and on the
    warped photo the predictions again, on which its features should lie. Pairs are spread evenly over the source and
    target sets and never change. Also sent to W&B where that logs.

    Args:
        every_n_epochs: write after every n-th epoch, and after the last; a first one (``start.png``) shows the start.
        pairs: rows of the grid.
        folder: under the run's folder.
        field: how a fifth column shows the warping field: ``grid`` (where it takes a square grid, over the photo; folds
            are red), ``quiver`` (arrows over the stylised face), ``colours`` (of optical flow), or ``none``.

    Raises:
        ValueError: ``field`` is none of these.
    """

    def __init__(
        self, every_n_epochs: int = 1, pairs: int = 6, folder: str = "pictures", field: FieldPicture = "grid"
    ) -> None:
        if field not in get_args(FieldPicture):
            raise ValueError(f"field is {field!r}; expected one of {', '.join(get_args(FieldPicture))}.")
        self.every_n_epochs, self.pairs, self.folder, self.field = every_n_epochs, pairs, folder, field
        self._faces: tuple[FaceBatch, FaceBatch] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            self._write(trainer, pl_module, "start")

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs:
            self._write(trainer, pl_module, f"epoch{epoch:03d}")

    @rank_zero_only
    def _write(self, trainer: Trainer, method: Any, name: str) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or data.target_faces is None:
            return
        if self._faces is None:
            size = method.image_size
            self._faces = spread(data.source_faces, self.pairs, size), spread(data.target_faces, self.pairs, size)
        photos, stylised = (batch.to(method.device) for batch in self._faces)
        caption = "SYNTHETIC" if data.synthetic else None
        picture = warp_grid(method, photos, stylised, caption, self.field)
        path = Path(trainer.default_root_dir) / self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[:, :, ::-1])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("warp", [picture], caption=[name])


def spread(faces: FaceSet, count: int, size: int) -> FaceBatch:
    """``count`` plain crops, spread evenly over a face set (fewer where it has fewer)."""
    indices = np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int).tolist()
    transform = FaceTransform(size)
    return collate([transform(faces[i], i) for i in indices])


@torch.no_grad()
def warp_grid(
    method: Any,
    photos: FaceBatch,
    stylised: FaceBatch,
    caption: str | None = None,
    field_picture: FieldPicture = "grid",
) -> ByteArray:
    """The grid of :class:`WarpPictures`.

    Args:
        method: maps crops to landmarks; put in evaluation mode meanwhile. The field is its ``warper``'s, or, where it
            has none, the thin-plate spline.
        photos: labelled crops.
        stylised: crops to warp the photos onto; as many are used as there are of both.
        caption: put before the first column's title.
        field_picture: what the fifth column shows; there is none for ``none``.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``.
    """
    count = min(len(photos), len(stylised))
    assert photos.landmarks is not None, "the source is labelled"
    training = method.training
    method.eval()
    predicted = method(stylised.images[:count])
    objective = method.warper if isinstance(getattr(method, "warper", None), WarperObjective) else WarperObjective()
    spline = objective.fit(photos.landmarks[:count], predicted)
    fields = spline.grid(photos.images.shape[-1], objective.coarse)
    method.train(training)
    rows = []
    for i in range(count):
        photo, face = to_picture(photos.images[i]), to_picture(stylised.images[i])
        warped = draw_warped(photos.images[i], fields[i])
        row = [
            draw_landmarks(photo, photos.landmarks[i]),
            draw_landmarks(face, predicted[i]),
            warped,
            draw_landmarks(warped, predicted[i]),
        ]
        rows.append([*row, *_field_column(field_picture, fields[i], photo, face)])
    titles = [f"{caption}: {COLUMNS[0]}" if caption else COLUMNS[0], *COLUMNS[1:]]
    return grid_of(rows, titles if field_picture == "none" else [*titles, FIELD_COLUMNS[field_picture]])


def _field_column(how: FieldPicture, field: Tensor, photo: ByteArray, face: ByteArray) -> list[ByteArray]:
    """The field's picture, or none."""
    step = max(1, len(field) // 16)
    if how == "grid":
        return [draw_deformed_grid(field, step, photo, PAPER)]
    if how == "quiver":
        return [draw_quiver(field, step, face)]
    return [draw_displacement(field)] if how == "colours" else []
