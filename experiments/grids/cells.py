"""Running the cells of a grid: each is a ``train``, in a folder of its own."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from datamodules.setting import SYNTHETIC
from experiments.artifacts.store import key_of
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from experiments.errors import UsageError
from experiments.grids.grid import Cell, Grid
from lightning_modules.methods.supervised import Supervised

log = logging.getLogger(__name__)

_TIMED_STEPS: Final = 6


@dataclass(frozen=True)
class Runner:
    """Runs cells of a grid, each unless it is done; several processes may do so at once.

    Beside a cell's folder, ``NAME.json`` says what it is made of. A cell that was made of something else is kept under
    another name; one that was cut short goes on where it was.

    Attributes:
        grid: whose cells.
        folders: ``data``, ``source``, ``target`` and ``test``, where they are given.
        out: where cells lie, each in a folder of its name.
        train: the command that a cell is.
        threads: of torch.
        isolated: whether each cell runs in a process of its own, or all in this one.
    """

    grid: Grid
    folders: Mapping[str, str]
    out: Path
    train: Callable[..., Path]
    threads: int = 1
    isolated: bool = True

    def run(self, cell: Cell) -> str:
        """Run a cell; returns what went wrong, or an empty text."""
        self.out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(self.threads)
        try:
            with FileLock(self._beside(cell, "lock"), blocking=False):
                return "" if self.is_done(cell) else self._run(cell)
        except Timeout:
            log.info("%s: another process is at it", cell.name)
        except Exception as error:  # whatever it is, other cells may be free of it (Ctrl-C ends the grid)
            log.debug("%s", cell.name, exc_info=True)
            return f"{cell.name} could not be run: {type(error).__name__}: {error}"
        return ""

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell has its metrics, and is made of what it is to be made of now."""
        return (self.out / cell.name / "metrics.json").exists() and self._note(cell).get("key") == self._key(cell)

    def start_of(self, cell: Cell) -> Path | None:
        """The pretrained start that a finished cell went on from, or None if its method needs none."""
        note = self._note(cell)
        if "start" in note and (note["start"] is None or Path(note["start"]).exists()):
            return Path(note["start"]) if note["start"] else None
        return self.plain(cell).provide_start()

    def plain(self, cell: Cell) -> WarpmarkCLI:
        """The composed command line of the cell's pretrained start, not run: without budget and ``cells``."""
        return WarpmarkCLI(self.grid.choices_of(cell, self.folders).arguments(), run=False)

    def in_cell(self, cell: Cell) -> WarpmarkCLI:
        """The composed command line of the cell's run, without its budget, not run."""
        return WarpmarkCLI(self.grid.choices_of(cell, self.folders, []).arguments(), run=False)

    def _run(self, cell: Cell) -> str:
        log.info("%s", cell.name)
        note, key = self._note(cell), self._key(cell)
        resume = note.get("key") == key
        budget = note["budget"] if resume else self._budget(cell)
        start = self.plain(cell).provide_start()
        made_of = {"key": key, "budget": budget, "start": str(start) if start else None}
        self._beside(cell, "json").write_text(json.dumps(made_of, indent=1) + "\n")
        layers = [
            budget,
            {"trainer": {"default_root_dir": str(self.out / cell.name), "enable_progress_bar": False}},
            {"pretraining": {"checkpoint": str(start)}} if start else {},
        ]
        choices = self.grid.choices_of(cell, self.folders, layers)
        return self._train_in_a_process(cell, choices, resume) if self.isolated else self._train_here(choices, resume)

    def _train_in_a_process(self, cell: Cell, choices: Choices, resume: bool) -> str:
        said = self._beside(cell, "log")
        words = [f"--{name}={value}" for name, value in _named(choices).items() if value]
        words += ["--config", *choices.layers(), *(f"--{name}={value}" for name, value in choices.overrides.items())]
        command = [sys.executable, "-m", "experiments", "train", *words, *(["--resume"] if resume else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with said.open("w") as output:
            status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
        if status.returncode == 0:
            return ""
        last = said.read_text().strip().splitlines()[-1:]
        return f"{cell.name} ended with status {status.returncode}: {last} ({said})"

    def _train_here(self, choices: Choices, resume: bool) -> str:
        self.train(**_named(choices), resume=resume, config=choices.layers(), **choices.overrides)
        return ""

    def _beside(self, cell: Cell, suffix: str) -> Path:
        return self.out / f"{cell.name}.{suffix}"

    def _note(self, cell: Cell) -> dict[str, Any]:
        path = self._beside(cell, "json")
        return json.loads(path.read_text()) if path.exists() else {}

    def _key(self, cell: Cell) -> str:
        choices = asdict(self.grid.choices_of(cell, self.folders, []))
        given = {name: folder for name, folder in self.folders.items() if folder and folder != SYNTHETIC}
        places = {name: str(Path(folder).resolve()) for name, folder in given.items()}
        return key_of({"choices": {**choices, **places}, "budget": dict(self.grid.budget)})

    def _budget(self, cell: Cell) -> dict[str, Any]:
        """The budget as configuration: epochs, and steps of each."""
        budget = self.grid.budget
        if not budget:
            return {}
        if "minutes" in budget:
            epochs, steps = 1, max(3, round(60 * budget["minutes"] / seconds_per_step(self.plain(cell))))
        else:
            epochs, steps = int(budget["epochs"]), int(budget["steps_per_epoch"])
        return {"trainer": {"max_epochs": epochs}, "data": {"steps_per_epoch": steps}}


def _named(choices: Choices) -> dict[str, Any]:
    names = ("setting", "method", "landmarker", "profile", "data", "source", "target", "test", "seed")
    return {name: getattr(choices, name) for name in names}


def seconds_per_step(cli: WarpmarkCLI) -> float:
    """What a supervised training step takes, loading included: CPU time of this process; by the clock on a GPU.

    Raises:
        UsageError: the method is another than ``supervised``, whose steps are all alike.
    """
    if not isinstance(cli.method, Supervised):
        raise UsageError(
            f"a budget in minutes is for METHOD=supervised, whose steps are all alike, not for "
            f"{type(cli.method).__name__}. Give the budget as {{epochs, steps_per_epoch}}."
        )
    device = cli.trainer.strategy.root_device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    landmarker = cli.method.landmarker.to(device).train()
    optimizer = torch.optim.AdamW(landmarker.parameters(), lr=1e-6)
    cli.data.steps_per_epoch = 2 + _TIMED_STEPS
    cli.data.setup()
    landmarker.fit_shapes(cli.data.source_shapes().to(device))
    began = 0.0
    for step, batch in enumerate(cli.data.train_dataloader()):
        if step == 2:
            began = clock()
        source = batch.source.to(device)
        optimizer.zero_grad()
        loss = landmarker.loss(landmarker(source.images), source.landmarks)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (clock() - began) / _TIMED_STEPS
