"""When pseudo landmarks are frozen, and that a resumed run goes on with the same ones."""

from typing import Any, cast

from torch import Tensor

from datamodules.faces import TrainBatch
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.methods.base import FaceMethod
from lightning_modules.methods.pseudo import PseudoLandmarks, find_pseudo_landmarks


class PseudoLabelled(FaceMethod):
    """Base of methods that freeze the whole target's landmarks at the start of some epochs.

    Subclasses say which epochs need which (:meth:`pseudo_cycle_of`). The pseudo landmarks are part of the checkpoint.
    """

    mirror_average: bool = True
    """Take pseudo landmarks from the crop and its mirror image."""
    keep: float = 1.0
    """Share of target faces whose pseudo landmarks are trained on, by agreement under mirroring."""
    pseudo: PseudoLandmarks | None = None
    """Those frozen last; None before the first time."""
    _pseudo_cycle: int = -1

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """A number that changes when pseudo landmarks are to be taken anew; None for epochs that need none."""
        raise NotImplementedError(f"{type(self).__name__} does not say when to freeze pseudo landmarks.")

    def pseudo_landmarker(self) -> Landmarker:
        """What finds them."""
        return self.landmarker

    def on_train_epoch_start(self) -> None:
        """Freeze pseudo landmarks where the epoch needs new ones."""
        cycle = self.pseudo_cycle_of(self.current_epoch)
        if cycle is None or cycle == self._pseudo_cycle:
            return
        data = cast(Any, self.trainer).datamodule
        self.pseudo = find_pseudo_landmarks(
            self.pseudo_landmarker(),
            data.target_loader(),
            len(data.target_faces),
            self.device,
            lambda tensor: cast(Tensor, self.trainer.strategy.reduce(tensor, reduce_op="sum")),
            self.mirror_average,
            self.keep,
        )
        self._pseudo_cycle = cycle

    def on_train_batch_start(self, batch: TrainBatch, batch_idx: int) -> None:
        """The same where a run resumed from an epoch's last step: its next epoch begins without the hook above."""
        self.on_train_epoch_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also keep the pseudo landmarks: a run resumed while they are in use goes on with the same."""
        super().on_save_checkpoint(checkpoint)
        if self.pseudo is not None:
            checkpoint["pseudo_landmarks"] = {
                "landmarks": self.pseudo.landmarks,
                "weights": self.pseudo.weights,
                "cycle": self._pseudo_cycle,
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the pseudo landmarks back."""
        if kept := checkpoint.get("pseudo_landmarks"):
            self.pseudo = PseudoLandmarks(kept["landmarks"], kept["weights"])
            self._pseudo_cycle = kept["cycle"]
