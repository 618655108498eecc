"""What every method shares: a landmarker, and its scores on the setting's test sets."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from lightning import Callback
from torch import Tensor, nn

from datamodules.faces import FaceBatch
from datamodules.loading import Draws
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import find_landmarks
from lightning_modules.metrics import LandmarkErrors
from lightning_modules.replay import Passes
from lightning_modules.standing_out import StandingOut
from lightning_modules.training import TrainingModule, ValidateLastEpoch

log = logging.getLogger(__name__)

AVERAGE = "average_nme"
"""Mean NME over all faces of all test sets: Table 2's average, which weights sets by their image counts."""
BALANCED = "balanced_nme"
"""Mean of the test sets' NMEs, each set with the same weight, however few faces it has."""


class _TestSet(Protocol):
    subsets: list[tuple[str, ...]]


class SetErrors(nn.Module):
    """The errors of one test set: over all its faces, and for each subset over the faces that count in it.

    Args:
        subsets: ``subsets[i]`` names the subsets face i counts in.
        sync: see :class:`LandmarkErrors`.
    """

    def __init__(self, subsets: list[tuple[str, ...]], sync: bool = True) -> None:
        super().__init__()
        self.subsets = subsets
        self.overall = LandmarkErrors(sync)
        self.standing_out = StandingOut()
        self._places: list[int] = []
        self.by_subset = nn.ModuleDict({name: LandmarkErrors(sync) for face in subsets for name in face})

    def update(self, predicted: Tensor, target: Tensor, indices: Tensor, paths: Sequence[str] | None = None) -> None:
        """Add faces.

        Args:
            predicted: landmarks in image pixels, shape ``(B, 68, 2)``.
            target: likewise, the labels'.
            indices: the faces' places in the set, shape ``(B,)``.
            paths: their images, by which faces are named; by their places if None.
        """
        self.overall.update(predicted, target)
        self.standing_out.add(paths or [f"face {i}" for i in indices.tolist()], predicted, target)
        self._places += indices.tolist()
        faces = [self.subsets[i] for i in self._places[-len(predicted) :]]
        for name, errors in self.by_subset.items():
            members = torch.tensor([name in subsets for subsets in faces], device=predicted.device)
            if members.any():
                cast(LandmarkErrors, errors).update(predicted[members], target[members])

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """Each subset's ``nme``, ``fr@8``, ``auc@8``, ``n`` and ``failed``."""
        return {name: cast(LandmarkErrors, errors).compute() for name, errors in self.by_subset.items()}

    def warn(self) -> None:
        """Log which faces failed and which outweigh the others, of those that this process scored."""
        said: dict[str, str] = {}
        for name in self.by_subset:
            members = [order for order, place in enumerate(self._places) if name in self.subsets[place]]
            # A face counts in several subsets: it is named once.
            said |= {line.partition(": ")[2]: line for line in self.standing_out.remarks(name, members)}
        for line in said.values():
            log.warning(line)

    def reset(self) -> None:
        """Forget all faces."""
        self.standing_out.clear()
        self._places = []
        for errors in (self.overall, *self.by_subset.values()):
            cast(LandmarkErrors, errors).reset()


class FaceMethod(TrainingModule):
    """Base of every method: subclasses add ``training_step`` and ``configure_optimizers``.

    Validation and test log, for each subset, ``val/300w_full/nme``, ``…/fr@8``, ``…/auc@8``, and over all faces
    ``val/average_nme``, and as the mean over sets ``val/balanced_nme`` (``test/…`` likewise); :attr:`scores` keeps the
    last ones.

    Args:
        landmarker: the network to train.
    """

    needs_target: ClassVar[bool] = False
    """Whether training batches must hold target faces."""
    needs_pretraining: ClassVar[bool] = False
    """Whether it starts from a landmarker trained on the source (the command line then provides one)."""
    needs_translator: ClassVar[bool] = False
    """Whether its ``translator`` is to be trained first, on source and target (the command line then does that)."""
    cuda_graphs = False
    """Whether training passes are recorded and replayed, on one GPU."""

    def __init__(self, landmarker: Landmarker) -> None:
        super().__init__()
        # A test set may have fewer faces than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.landmarker = landmarker
        self.landmarker_spec: Mapping[str, Any] | None = None
        self.faces: Mapping[str, str] = {}
        self.scores: dict[str, dict[str, float]] = {}
        self.average_nme = float("nan")
        self._errors = nn.ModuleList()
        self._passes: Passes | None = None

    @property
    def image_size(self) -> int:
        """Side of the crops the landmarker is made for, in pixels."""
        return self.landmarker.image_size

    @property
    def errors(self) -> list[SetErrors]:
        """The errors collected on each test set, in the order of the loaders."""
        return cast(list[SetErrors], list(self._errors))

    @property
    def trained(self) -> Landmarker:
        """What the landmarker's optimizer moves: the landmarker, unless a method tests another than it trains."""
        return self.landmarker

    def configure_callbacks(self) -> list[Callback]:
        """Also what validates when the run ends, whichever epochs are validated."""
        return [*super().configure_callbacks(), ValidateLastEpoch()]

    def draws(self) -> Draws:
        """What the training batches of the epoch that is about to be drawn hold (``loading.epoch_drawn``)."""
        return Draws()

    def supervised_loss(self, photos: FaceBatch) -> Tensor:
        """The landmarker's own loss on labelled photos, a scalar."""
        assert photos.landmarks is not None, "the source is labelled"
        return self.trained.loss(self.train_pass(photos.images), photos.landmarks)

    def train_pass(self, images: Tensor) -> LandmarkerOutput:
        """The trained landmarker's output for crops; with :attr:`cuda_graphs` it is valid until the next one."""
        output: LandmarkerOutput = (self._passes or self.trained)(images)
        return output

    def forward(self, images: Tensor) -> Tensor:
        """Landmarks of crops (RGB in [0, 1], ``(B, 3, S, S)``), in crop coordinates, ``(B, 68, 2)``."""
        return self.landmarker(images).landmarks  # type: ignore[no-any-return]

    def setup(self, stage: str) -> None:
        """Check the trainer, and make the errors of every test set."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        sets = cast(list[_TestSet], getattr(data, "test_sets", []))
        self._errors = nn.ModuleList(SetErrors(test.subsets) for test in sets)
        device = self.trainer.strategy.root_device
        if stage == "fit" and self.cuda_graphs and device.type == "cuda" and self.trainer.world_size == 1:
            self._passes = Passes(self.trained)

    def on_fit_end(self) -> None:
        """Forget recordings: the landmarker is about to leave the GPU."""
        self._passes = None

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's errors."""
        self._share_buffers()
        for errors in self.errors:
            errors.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_train_epoch_end(self) -> None:
        """Let all processes go on, and save, with the same network."""
        self._share_buffers()

    def _share_buffers(self) -> None:
        # DistributedDataParallel shares batch-norm's statistics before a step; after the last one they differ.
        if self.trainer.world_size > 1:
            for buffer in self.landmarker.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: FaceBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score a batch of a test set, in the original images' pixels."""
        assert batch.landmarks is not None, "test sets are labelled"
        predicted = find_landmarks(self.landmarker, batch.images, batch.matrices).pixels
        truth = to_image_pixels(batch.landmarks, batch.matrices, self.image_size)
        self.errors[dataloader_idx].update(predicted, truth, batch.indices, batch.paths)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        computed = {name: values for errors in self.errors for name, values in errors.compute().items()}
        self.scores = {name: {k: float(v) for k, v in values.items()} for name, values in computed.items()}
        scores = ((f"{stage}/{subset}/{k}", v) for subset, values in self.scores.items() for k, v in values.items())
        logged = {name: value for name, value in scores if not name.endswith(("/n", "/failed"))}
        if stage == "test":
            for errors in self.errors:
                errors.warn()
        if overall := [errors.overall.compute() for errors in self.errors]:
            count = sum(float(values["n"]) for values in overall)
            self.average_nme = sum(float(values["nme"]) * float(values["n"]) for values in overall) / count
            logged[f"{stage}/{AVERAGE}"] = self.average_nme
            logged[f"{stage}/{BALANCED}"] = sum(float(values["nme"]) for values in overall) / len(overall)
        # The errors were gathered from all processes by `compute`; there is nothing left to reduce.
        self.log_dict(logged, sync_dist=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to rebuild the landmarker, so that a checkpoint can be scored by itself; and the faces."""
        if self.landmarker_spec is not None:
            checkpoint["landmarker"] = dict(self.landmarker_spec)
        if self.faces:
            checkpoint["faces"] = dict(self.faces)
