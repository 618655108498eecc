"""Pictures of what the warper does, on the same faces every time, so that progress can be seen."""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from typing_extensions import override

from callbacks.drawing import RED, SYNTHETIC, draw_image, draw_landmarks, page
from callbacks.field_drawing import draw_arrows, draw_deformed_grid, draw_displacement
from datamodules.faces import FaceBatch, FaceSet, collate
from datamodules.transforms import FaceTransform
from lightning_modules.landmarkers.base import evaluating
from lightning_modules.warping import WarperObjective, warp_image

COLUMNS = ("photo, labels", "stylised face, predictions", "photo warped onto it", "the same, predictions")
FieldPicture = Literal["grid", "quiver", "colours", "none"]
FIELD_COLUMNS: dict[FieldPicture, str] = {
    "grid": "the face's grid on the photo",
    "quiver": "displacement",
    "colours": "displacement",
}


class WarpPictures(Callback):
    """Writes a picture a chosen epoch: photos, stylised faces, and the photos warped by the predicted landmarks.

    Each row is a pair of faces. Landmarks are drawn over them: the photo's labels, the stylised face's predictions, and
    on the warped photo the predictions again, on which its features should lie. Pairs are spread evenly over the source
    and target sets and never change. Where W&B logs, pictures are sent there too.

    Args:
        every_n_epochs: write after every n-th epoch, and after the last; a first one (``start.png``) shows the start.
            As often as the trainer validates if None.
        pairs: rows of the picture.
        folder: under the run's folder.
        field: how a fifth column shows the warping field: ``grid`` (where it takes a square grid, over the photo; folds
            are red), ``quiver`` (arrows over the stylised face), ``colours`` (of optical flow), or ``none``.

    Raises:
        ValueError: ``field`` is none of these.
    """

    def __init__(
        self, every_n_epochs: int | None = None, pairs: int = 6, folder: str = "pictures", field: FieldPicture = "grid"
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
        every = self.every_n_epochs or trainer.check_val_every_n_epoch or 1
        if epoch % every == 0 or epoch == trainer.max_epochs:
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
        path = Path(trainer.default_root_dir) / self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_warps(method, photos, stylised, SYNTHETIC if data.synthetic else None, self.field).savefig(path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("warp", [str(path)], caption=[name])


def spread(faces: FaceSet, count: int, size: int) -> FaceBatch:
    """``count`` plain crops of ``size`` pixels, spread evenly over a face set (all faces where it has fewer)."""
    indices = np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int).tolist()
    transform = FaceTransform(size)
    return collate([transform(faces[i], i) for i in indices]).to("cpu")


@torch.no_grad()
def draw_warps(
    method: Any, photos: FaceBatch, stylised: FaceBatch, note: str | None = None, field_picture: FieldPicture = "grid"
) -> Figure:
    """The picture of :class:`WarpPictures`.

    Args:
        method: maps crops to landmarks; put in evaluation mode meanwhile. The field is its ``warper``'s, or, where it
            has none, the thin-plate spline.
        photos: labelled crops.
        stylised: crops to warp the photos onto; as many are used as there are of both.
        note: a line of text at the foot.
        field_picture: what the fifth column shows; there is none for ``none``.
    """
    count, size = min(len(photos), len(stylised)), photos.images.shape[-1]
    assert photos.landmarks is not None, "the source is labelled"
    photo, face, labels = photos.images[:count], stylised.images[:count], photos.landmarks[:count]
    objective = method.warper if isinstance(getattr(method, "warper", None), WarperObjective) else WarperObjective()
    with evaluating(method):
        predicted = method(face)
        fields = objective.fit(labels, predicted, photo, face).grid(size, objective.coarse)
    warped = warp_image(photo, fields)
    titles = list(COLUMNS) if field_picture == "none" else [*COLUMNS, FIELD_COLUMNS[field_picture]]
    figure, panels = page(count, len(titles), titles, note)
    for i, row in enumerate(panels):
        for panel, image in zip(row, (photo[i], face[i], warped[i], warped[i]), strict=False):
            draw_image(panel, image)
        draw_landmarks(row[0], labels[i], size)
        for panel in (row[1], row[3]):
            draw_landmarks(panel, predicted[i], size, RED)
        if field_picture != "none":
            _draw_field(row[4], field_picture, fields[i], photo[i], face[i])
    return figure


def _draw_field(panel: Axes, how: FieldPicture, field: Tensor, photo: Tensor, face: Tensor) -> None:
    if how == "colours":
        draw_displacement(panel, field)
        return
    draw_image(panel, photo if how == "grid" else face)
    if how == "grid":
        draw_deformed_grid(panel, field, photo.shape[-1])
    else:
        draw_arrows(panel, field)
