"""Pictures of what the warper does, on the same faces every time, so that progress can be seen."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from callbacks.drawing import draw_landmarks, grid_of, to_picture
from datamodules.faces import ByteArray, FaceBatch, FaceSet, collate
from datamodules.transforms import FaceTransform
from lightning_modules.warping.spline import PolyharmonicSpline

COLUMNS = ("photo, labels", "stylised face, predictions", "photo warped onto it", "the same, predictions")


class WarpPictures(Callback):
    """Writes one grid a chosen epoch: photo, stylised face, and the photo warped by the predicted landmarks.

    Each row is a pair. Landmarks are drawn over each: the photo's labels, the stylised face's predictions, and on the
    warped photo the predictions again, on which its features should lie. Pairs are spread evenly over the source and
    target sets and never change. Also sent to W&B where that logs.

    Args:
        every_n_epochs: write after every n-th epoch, and after the last; a first one (``start.png``) shows the start.
        pairs: rows of the grid.
        folder: under the run's folder.
    """

    def __init__(self, every_n_epochs: int = 1, pairs: int = 6, folder: str = "pictures") -> None:
        self.every_n_epochs, self.pairs, self.folder = every_n_epochs, pairs, folder
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
            self._faces = _spread(data.source_faces, self.pairs, size), _spread(data.target_faces, self.pairs, size)
        photos, stylised = (batch.to(method.device) for batch in self._faces)
        caption = "SYNTHETIC" if data.synthetic else None
        picture = warp_grid(method, photos, stylised, caption)
        path = Path(trainer.default_root_dir) / self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[:, :, ::-1])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("warp", [picture], caption=[name])


def _spread(faces: FaceSet, count: int, size: int) -> FaceBatch:
    """``count`` plain crops, spread evenly over a face set (fewer where it has fewer)."""
    indices = np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int).tolist()
    transform = FaceTransform(size)
    return collate([transform(faces[i], i) for i in indices])


@torch.no_grad()
def warp_grid(method: Any, photos: FaceBatch, stylised: FaceBatch, caption: str | None = None) -> ByteArray:
    """The grid of :class:`WarpPictures`.

    Args:
        method: maps crops to landmarks; put in evaluation mode meanwhile.
        photos: labelled crops.
        stylised: crops to warp the photos onto; as many are used as there are of both.
        caption: put before the first column's title.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``.
    """
    count = min(len(photos), len(stylised))
    assert photos.landmarks is not None, "the source is labelled"
    training = method.training
    method.eval()
    predicted = method(stylised.images[:count])
    method.train(training)
    warped = PolyharmonicSpline.fit(predicted, photos.landmarks[:count]).warp(photos.images[:count])
    rows = [
        [
            draw_landmarks(to_picture(photos.images[i]), photos.landmarks[i]),
            draw_landmarks(to_picture(stylised.images[i]), predicted[i]),
            to_picture(warped[i]),
            draw_landmarks(to_picture(warped[i]), predicted[i]),
        ]
        for i in range(count)
    ]
    return grid_of(rows, [f"{caption}: {COLUMNS[0]}" if caption else COLUMNS[0], *COLUMNS[1:]])
