"""Pseudo landmarks: the target landmarks frozen when a warper phase ends (Algorithm 1, line 6)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from datamodules.faces import Face, FaceBatch, FloatArray
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.loading import epoch_drawn
from datamodules.transforms import crop_square
from lightning_modules.coordinates import to_crop
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference, find_in_images


@dataclass
class PseudoLandmarks:
    """One estimate per target face.

    Attributes:
        landmarks: image pixels, shape ``(N, 68, 2)``, float32.
        weights: how much each face is trusted, shape ``(N,)``, mean 1 (0 for faces left out).
    """

    landmarks: Tensor
    weights: Tensor

    def lookup(self, batch: FaceBatch, size: int) -> tuple[Tensor, Tensor]:
        """The pseudo landmarks of a batch, under its own crops and augmentation.

        Args:
            batch: target faces; only ``indices``, ``matrices`` and ``flipped`` are read.
            size: side of the crops in pixels.

        Returns:
            Landmarks in crop coordinates ``(B, 68, 2)`` and weights ``(B,)``.
        """
        where = batch.indices.to(self.landmarks.device)
        landmarks = to_crop(self.landmarks[where], batch.matrices.to(self.landmarks.device), size)
        mirrored = landmarks[:, list(FLIP_PERMUTATION)]
        flipped = batch.flipped.to(landmarks.device)[:, None, None]
        device = batch.images.device
        return torch.where(flipped, mirrored, landmarks).float().to(device), self.weights[where].to(device)

    def boxes(self) -> FloatArray:
        """The smallest box ``(x0, y0, x1, y1)`` around each face's, image pixels, shape ``(N, 4)``."""
        corners = torch.cat([self.landmarks.amin(1), self.landmarks.amax(1)], dim=1)
        return corners.cpu().numpy()


def find_pseudo_landmarks(
    landmarker: Landmarker,
    faces: Iterable[Sequence[tuple[int, Face]]],
    count: int,
    device: torch.device,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    how: Inference = Inference(mirror=True),  # noqa: B008 - frozen
    keep: float = 1.0,
) -> PseudoLandmarks:
    """Run the landmarker over the whole target set and keep its estimates.

    It runs in evaluation mode, so that batch-norm statistics neither change nor depend on the batch.

    Args:
        landmarker: the network.
        faces: this process's share of the target faces, in batches, each with its place in the whole set.
        count: number of target faces over all processes.
        device: where tensors of all processes are gathered.
        gather: sums a tensor over all processes; each fills in its own faces and leaves the others zero.
        how: landmarks are found.
        keep: share of faces to keep; those whose estimates differ most get weight 0. Below 1 it needs several
            estimates of a face, e.g. on its mirror image.

    Raises:
        ValueError: ``keep`` is out of (0, 1], or below 1 with one estimate each; the batches left a face out.
    """
    if not 0 < keep <= 1 or (keep < 1 and not (how.mirror or len(how.scales) > 1)):
        raise ValueError(f"keep is {keep}; expected a share in (0, 1], and below 1 only with mirror_average: true.")
    landmarks = torch.zeros(count, 68, 2)
    found, disagreement = torch.zeros(count), torch.zeros(count)
    for batch in faces:
        where = torch.tensor([place for place, _ in batch])
        images, squares = [face.image for _, face in batch], [crop_square(face) for _, face in batch]
        estimated = find_in_images(landmarker, images, squares, how)
        landmarks[where], disagreement[where] = estimated.pixels.float().cpu(), estimated.disagreement.float().cpu()
        found[where] = 1.0
    landmarks, disagreement, found = (gather(t.to(device)).cpu() for t in (landmarks, disagreement, found))
    if not bool((found == 1).all()):
        raise ValueError(f"{int((found != 1).sum())} of {count} target faces have no pseudo landmarks, or several.")
    kept = torch.ones(count)
    if keep < 1:
        kept[disagreement.argsort()[max(1, round(keep * count)) :]] = 0
    return PseudoLandmarks(landmarks, kept / kept.mean())


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

    Attributes:
        current: those found last; None before the first time.
    """

    def __init__(
        self,
        mirror_average: bool = True,
        keep: float = 1.0,
        recrop: int = 0,
        finder: Callable[[Any], Landmarker] | None = None,
    ) -> None:
        self.how, self.keep, self.finder = Inference(recrop, mirror_average), keep, finder
        self.current: PseudoLandmarks | None = None
        self.cycle = -1

    def lookup(self, batch: FaceBatch, size: int) -> tuple[Tensor, Tensor]:
        """See :meth:`PseudoLandmarks.lookup`, of the current ones."""
        assert self.current is not None, "they were found when the epoch began"
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
        self.current = find_pseudo_landmarks(
            method.landmarker if self.finder is None else self.finder(method),
            data.target_batches(),
            len(data.target_faces),
            method.device,
            lambda tensor: cast(Tensor, trainer.strategy.reduce(tensor, reduce_op="sum")),
            self.how,
            self.keep,
        )
        self.cycle = cycle

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # A run resumed from an epoch's last step begins its next epoch without the hook above.
        self.on_train_epoch_start(trainer, pl_module)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.current is not None:
            checkpoint["pseudo_landmarks"] = {**vars(self.current), "cycle": self.cycle}

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if kept := checkpoint.get("pseudo_landmarks"):
            self.current, self.cycle = PseudoLandmarks(kept["landmarks"], kept["weights"]), kept["cycle"]
