"""Running the cells of a grid: each is a ``train``, in a folder of its own."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from datamodules.setting import SYNTHETIC
from experiments.artifacts.store import key_of
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from experiments.errors import UsageError
from experiments.grids.contents import Contents, code
from experiments.grids.grid import Cell, Grid
from experiments.run.folder import RunFolder
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
    """

    grid: Grid
    folders: Mapping[str, str]
    out: Path
    train: Callable[..., Path]
    threads: int = 1
    _contents: Contents = field(default_factory=Contents, init=False, repr=False, compare=False)

    def run(self, cell: Cell) -> None:
        """Run a cell in this process, unless it is done or another process is at it.

        Raises:
            Exception: whatever went wrong.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(self.threads)
        if not _is_first():
            # Lightning started this process for the cell of the first one, which holds its lock.
            self._run(cell)
            return
        try:
            with self._lock(cell):
                if not self.is_done(cell):
                    self._run(cell)
        except Timeout:
            log.info("%s: another process is at it", cell.name)

    def attempt(self, cell: Cell) -> str:
        """:meth:`run` it; returns what went wrong, or an empty text."""
        try:
            self.run(cell)
        except Exception as error:  # whatever it is, other cells may be free of it (Ctrl-C ends the grid)
            # Bad input is told in a line; of anything else one wants to know where.
            log.info("%s", cell.name, exc_info=not isinstance(error, ValueError))
            return f"{cell.name} could not be run: {type(error).__name__}: {error}"
        return ""

    def is_needed(self, cell: Cell) -> bool:
        """Whether the cell is not done, and no process is at it."""
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock(cell):
                return not self.is_done(cell)
        except Timeout:
            return False

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell has its metrics, and is made of what it is to be made of now."""
        return (self.out / cell.name / "metrics.json").exists() and not self.outdated(cell)

    def outdated(self, cell: Cell) -> str:
        """What the cell's folder was made of that is not what the cell is to be made of now; empty if nothing."""
        note = self._note(cell)
        if not note and not (self.out / cell.name).exists():
            return ""
        if note.get("key") != self._key(cell):
            return "other choices, folders or another budget"
        # Earlier versions noted no contents.
        now, then = self._contents.of(self._choices(cell)), note.get("contents", {})
        changed = [name for name in then if now.get(name, then[name]) != then[name]]
        return f"what {', '.join(changed)} held before a change" if changed else ""

    def is_of_other_code(self, cell: Cell) -> bool:
        """Whether other code of data and networks trained the cell, where that is known."""
        return bool(self._note(cell).get("code", code()) != code())

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

    def _run(self, cell: Cell) -> None:
        log.info("%s", cell.name)
        note, outdated = self._note(cell), self.outdated(cell)
        resume = bool(note) and not outdated
        budget = note["budget"] if resume else self._budget(cell)
        start = self.plain(cell).provide_start()
        if _is_first():
            if not resume:
                # Before the note is written: together they would be taken for what is made now, if it is killed here.
                self._put_aside(cell, outdated)
            made_of = {"key": self._key(cell), "contents": self._contents.of(self._choices(cell)), "code": code()}
            self._write_note(cell, {**made_of, "budget": budget, "start": str(start) if start else None})
        layers = [
            budget,
            {"trainer": {"default_root_dir": str(self.out / cell.name), "enable_progress_bar": False}},
            {"pretraining": {"checkpoint": str(start)}} if start else {},
        ]
        choices = self.grid.choices_of(cell, self.folders, layers)
        self.train(**_named(choices), resume=resume, config=choices.layers(), **choices.overrides)

    def _put_aside(self, cell: Cell, outdated: str) -> None:
        folder = self.out / cell.name
        if folder.exists():
            log.warning("%s: was made of %s; it is made anew", cell.name, outdated)
        place = RunFolder(folder)
        place.take(resume=False)
        place.release()

    def _lock(self, cell: Cell) -> FileLock:
        return FileLock(self.out / f"{cell.name}.lock", blocking=False)

    def _note(self, cell: Cell) -> dict[str, Any]:
        path = self.out / f"{cell.name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _write_note(self, cell: Cell, note: Mapping[str, Any]) -> None:
        unfinished = self.out / f"{cell.name}.json.unfinished"
        unfinished.write_text(json.dumps(note, indent=1) + "\n")
        unfinished.replace(self.out / f"{cell.name}.json")

    def _choices(self, cell: Cell) -> Choices:
        return self.grid.choices_of(cell, self.folders, [])

    def _key(self, cell: Cell) -> str:
        given = {name: folder for name, folder in self.folders.items() if folder and folder != SYNTHETIC}
        places = {name: str(Path(folder).resolve()) for name, folder in given.items()}
        return key_of({"choices": {**asdict(self._choices(cell)), **places}, "budget": dict(self.grid.budget)})

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


def _is_first() -> bool:
    """Whether this is the first process of the cell: its run's ``devices`` may make Lightning start further ones."""
    return not cast(Any, rank_zero_only).rank


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
