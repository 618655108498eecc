"""What finds a method's pseudo landmarks when an epoch needs new ones, and keeps them in its checkpoints."""

import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from datamodules.faces import FaceBatch, FloatArray
from datamodules.loading import epoch_drawn
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference
from lightning_modules.methods.pseudo.landmarks import PseudoLandmarks, find_pseudo_landmarks
from lightning_modules.methods.pseudo.teachers import TOLERANCE, Teachers

log = logging.getLogger(__name__)


class PseudoLabelling(Protocol):
    """A method that uses a :class:`PseudoLandmarkStore`."""

    landmarker: Landmarker
    device: torch.device

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """A number that changes when pseudo landmarks are to be found anew; None for epochs that need none."""


class PseudoLandmarkStore(Callback):
    """The pseudo landmarks that a method uses: found when an epoch needs new ones, and kept in the checkpoint.

    The method owns it and returns it from ``configure_callbacks``, so that Lightning calls its hooks.

    Args:
        mirror_average: average the estimates on each crop and on its mirror image.
        keep: see :func:`find_pseudo_landmarks`.
        recrop: how often at most a face is cropped again to the landmarks found, see :class:`Inference`.
        finder: the landmarker that finds them, given the method; the method's own if None.
        teachers: other landmarkers that find them too, or instead. They are not part of the method: neither its
            optimizers nor its checkpoints know them.

    Attributes:
        current: those found last; None before the first time.
    """

    def __init__(
        self,
        mirror_average: bool = True,
        keep: float = 1.0,
        recrop: int = 0,
        finder: Callable[[Any], Landmarker] | None = None,
        teachers: Teachers | None = None,
    ) -> None:
        self.how, self.keep, self.finder = Inference(recrop, mirror_average), keep, finder
        self.teachers = teachers
        self.current: PseudoLandmarks | None = None
        self.cycle = -1

    def lookup(self, batch: FaceBatch, size: int) -> tuple[Tensor, Tensor]:
        """See :meth:`PseudoLandmarks.lookup`, of the current ones."""
        assert self.current is not None, "they were found when the epoch began"
        # Moved once: a copy of the landmarks looked up in every step would be waited for.
        self.current = self.current.to(batch.images.device)
        return self.current.lookup(batch, size)

    def boxes(self, trainer: Trainer, method: LightningModule) -> FloatArray | None:
        """The current ones' boxes (see :meth:`PseudoLandmarks.boxes`); None in epochs that use no pseudo landmarks.

        They are found now if they are due: a loader with processes of its own draws an epoch's first batches before the
        epoch begins.
        """
        epoch = epoch_drawn(trainer)
        self._find(trainer, cast(PseudoLabelling, method), epoch)
        used = cast(PseudoLabelling, method).pseudo_cycle_of(epoch) is not None
        return self.current.boxes() if used and self.current is not None else None

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._find(trainer, cast(PseudoLabelling, pl_module), trainer.current_epoch)

    def _find(self, trainer: Trainer, method: PseudoLabelling, epoch: int) -> None:
        cycle = method.pseudo_cycle_of(epoch)
        if cycle is None or cycle == self.cycle:
            return
        data = cast(Any, trainer).datamodule
        own = method.landmarker if self.finder is None else self.finder(method)
        self.current = find_pseudo_landmarks(
            [own] if self.teachers is None else self.teachers.beside(own, method.device),
            data.target_batches(),
            len(data.target_faces),
            method.device,
            lambda tensor: cast(Tensor, trainer.strategy.reduce(tensor, reduce_op="sum")),
            self.how,
            self.keep,
            TOLERANCE if self.teachers is None else self.teachers.tolerance,
        )
        self.cycle = cycle
        if self.teachers is not None:
            mean = float(self.current.weights.mean())
            log.info("pseudo landmarks of %d faces: mean weight %.3f", len(self.current.weights), mean)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # A run resumed from an epoch's last step begins its next epoch without the hook above.
        self.on_train_epoch_start(trainer, pl_module)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.current is not None:
            checkpoint["pseudo_landmarks"] = {**vars(self.current.to("cpu")), "cycle": self.cycle}

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if kept := checkpoint.get("pseudo_landmarks"):
            self.current, self.cycle = PseudoLandmarks(kept["landmarks"], kept["weights"]), kept["cycle"]
