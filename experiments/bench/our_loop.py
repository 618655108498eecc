"""Our training, phase by phase, as ``make train`` composes it: the same data module, method and trainer."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from typing_extensions import override

from datamodules.setting import SettingDataModule
from experiments.artifacts.pretrained import Start
from experiments.bench.faces_on_disk import FaceFolders
from experiments.bench.measuring import READ, Clock, Lap, wait
from experiments.checkpoints import shipped_spec
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.landmarkers.inference import Inference
from lightning_modules.methods.face_warping import FaceWarping
from lightning_modules.methods.pseudo import PseudoLandmarks, find_pseudo_landmarks

Form = Literal["light", "full"]
Phase = Literal["pretraining", "warper", "proximal"]

_PROFILE: dict[Form, str] = {"light": "quick", "full": "paper"}


class StepClock(Profiler):
    """Lightning tells a profiler when it asks for a batch and when that is on its device; here they are timed.

    Args:
        warm: steps before the clock starts.
        steps: that are timed. A further one shows where the last of them ends.
        clock: that times them.
        device: which is waited for where the clock starts and stops; steps between may overlap, as in training.
    """

    def __init__(self, warm: int, steps: int, clock: Clock, device: torch.device) -> None:
        super().__init__()
        self.first, self.last, self.read, self.device = warm, warm + steps, READ[clock], device
        self.step = -1
        self.begin = self.end = self.asked = self.waiting = 0.0

    @override
    def start(self, action_name: str) -> None:
        if not action_name.endswith("train_dataloader_next"):
            return
        self.step += 1
        if self.step in (self.first, self.last):
            wait(self.device)
        self.asked = self.read()
        if self.step == self.first:
            self.begin = self.asked
        if self.step == self.last:
            self.end = self.asked

    @override
    def stop(self, action_name: str) -> None:
        if action_name.endswith("batch_to_device") and self.first <= self.step < self.last:
            self.waiting += self.read() - self.asked

    def lap(self, batch: int) -> Lap:
        """What was timed, of steps of ``batch`` images."""
        assert self.step >= self.last, "the loop makes a step more than are timed"
        return Lap((self.last - self.first) * batch, self.end - self.begin, self.waiting)


class OurLoop:
    """The published program's choices (PROFILE=paper, METHOD=face_warping) in this project's loop.

    Args:
        faces: to train on.
        form: of SLPT: full (as published) or light.
        batch: faces, or pairs, of a step.
        device: ``cpu`` or ``cuda``.
        clock: that times it. CPU time sees this process alone: it wants ``data.num_workers`` of 0.
        runs: where a run would be written.
        overrides: dotted options of the Lightning CLI.
    """

    def __init__(
        self,
        faces: FaceFolders,
        form: Form,
        batch: int,
        device: torch.device,
        clock: Clock,
        runs: Path,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.device, self.clock = device, clock
        spec = shipped_spec("slpt", _PROFILE[form])
        # Which weights makes no difference to time.
        spec["init_args"] |= {"pretrained": False, "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3}}
        layer = {"data": {"batch_size": batch, "tests": [], "strict_counts": None}, "paths": {"runs": str(runs)}}
        layer["trainer"] = {"accelerator": device.type, "callbacks": [], "logger": False}
        choices = Choices(
            *("own", "face_warping", "slpt", "paper"),
            source=str(faces.photos),
            target=str(faces.stylised),
            config=[layer, {"model": {"init_args": {"landmarker": spec}}}],
            overrides=dict(overrides or {}),
        )
        self.cli = WarpmarkCLI(choices.arguments(), run=False)
        self.data: SettingDataModule = self.cli.data
        self.method = cast(FaceWarping, self.cli.method)
        self.data.setup()
        self.landmarker.fit_shapes(self.data.source_shapes())
        self.landmarker.to(device)

    @property
    def landmarker(self) -> Landmarker:
        """That is trained."""
        return self.method.landmarker

    def lap(self, phase: Phase, steps: int, warm: int = 0, batch: int = 0) -> Lap:
        """Train so many steps of a phase, from the first batch of a run on.

        Args:
            phase: which.
            steps: that are timed.
            warm: steps before.
            batch: faces, or pairs, of a step, if not those of the run.
        """
        clock = StepClock(warm, steps, self.clock, self.device)
        data = copy.copy(self.data)
        data.batch_size, data.steps_per_epoch = batch or self.data.batch_size, warm + steps + 1
        with _quiet():
            bare_trainer(self.cli, max_epochs=1, profiler=clock).fit(self.module(phase), datamodule=data)
        self.landmarker.to(self.device)
        return clock.lap(data.batch_size)

    def module(self, phase: Phase) -> LightningModule:
        """What trains in a phase; for epochs without end, that phase alone."""
        if phase == "pretraining":
            how, config = self.cli.options.pretraining, self.cli.landmarker_config
            return Start(self.method, self.data, how, config).learning()
        self.method.warper_epochs, self.method.proximal_epochs = (1, 0) if phase == "warper" else (0, 1)
        return self.method

    def pseudo_landmarks(self, batch: int = 0) -> tuple[Lap, PseudoLandmarks]:
        """Find the whole target's, ``batch`` faces at a time (default: the evaluation's)."""
        data = copy.copy(self.data)
        data.eval_batch_size = batch or self.data.eval_batch_size
        count, waiting, read = len(self.data.target_faces or []), [0.0], READ[self.clock]

        def timed(batches: Iterator[Any]) -> Iterator[Any]:
            while True:
                asked = read()
                faces = next(batches, None)
                waiting[0] += read() - asked
                if faces is None:
                    return
                yield faces

        wait(self.device)
        begin = read()
        how = Inference(mirror=False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=str(self.precision).startswith("bf16")):
            faces = timed(iter(data.target_batches()))
            found = find_pseudo_landmarks([self.landmarker], faces, count, self.device, how=how)
        wait(self.device)
        return Lap(count, read() - begin, waiting[0]), found

    @property
    def precision(self) -> str | int:
        """Of the trainer, e.g. ``32-true`` or ``bf16-mixed``."""
        precision: str | int = self.cli.trainer.precision
        return precision


def bare_trainer(cli: WarpmarkCLI, **options: Any) -> Trainer:
    """A trainer with a run's devices and precision, that shows and writes nothing and does not validate.

    Args:
        cli: of the run.
        options: further ones of the trainer.
    """
    shared = {name: cli.trainer_config[name] for name in ("accelerator", "devices", "precision")}
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(
        **shared,
        **{**silent, **options},
        limit_val_batches=0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
    )


def network_seconds(landmarker: Landmarker, batch: int, phase: Phase | Literal["pseudo"], clock: Clock) -> float:
    """Seconds an image of the network by itself: what no loop around it can do without. The better of two calls.

    Forward and backward and Adam's step for a batch that lies on the device; forward alone where the published program
    gives the network no gradient (warper phase) and for pseudo landmarks.
    """
    device = next(landmarker.parameters()).device
    images = torch.rand(batch, 3, landmarker.image_size, landmarker.image_size, device=device)
    target = torch.rand(batch, 68, 2, device=device)
    adam = torch.optim.Adam(landmarker.parameters(), lr=0.0)
    # Training goes on in the mode that it finds.
    mode = evaluating(landmarker) if phase == "pseudo" else nullcontext()

    def learn() -> None:
        adam.zero_grad()
        loss: Tensor = landmarker.loss(landmarker(images), target)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    @torch.no_grad()
    def look() -> None:
        landmarker(images)

    work: Callable[[], None] = learn if phase in ("pretraining", "proximal") else look
    taken = []
    with mode:
        for _ in range(3):
            wait(device)
            begin = READ[clock]()
            work()
            wait(device)
            taken.append(READ[clock]() - begin)
    return min(taken[1:]) / batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, of which none is about what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
