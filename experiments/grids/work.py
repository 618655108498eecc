"""Cells that are to be run, and who runs them."""

import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.executors.agents import tell_agent, write_sweep
from experiments.grids.executors.local import Job, gpus, run_jobs
from experiments.grids.executors.slurm import slurm_options, submit
from experiments.grids.grid import Cell

log = logging.getLogger(__name__)

_PROGRAM: Final = "experiments"


@dataclass(frozen=True)
class Work:
    """Cells of a grid, and the command that runs one of them.

    Attributes:
        runner: of the grid.
        cells: those that are to be run.
        name: the grid's, or its file.
        options: further ones of the command ``grid``; empty ones are left out.
        seeds: that were asked for instead of the file's.
    """

    runner: Runner
    cells: Sequence[Cell]
    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    seeds: Sequence[int] = ()

    def command(self) -> list[str]:
        """This grid's command, to which ``--cells=NAME`` can be added."""
        options = [f"--{name}={value}" for name, value in self.options.items() if value]
        return [_PROGRAM, "grid", self.name, *options, *(["--seeds", *map(str, self.seeds)] if self.seeds else [])]

    def run_here(self) -> list[str]:
        """Run the cells one after the other in this process; returns what went wrong, a line each."""
        return [problem for cell in self.cells if (problem := self.runner.attempt(cell))]

    def run_in_processes(self, at_once: int) -> list[str]:
        """Run each cell in a process of its own, several at once; returns what went wrong, a line each."""
        self.runner.out.mkdir(parents=True, exist_ok=True)
        # One at a time may use all GPUs, and need not share them.
        devices = gpus() if at_once > 1 else []
        jobs = [
            Job(
                cell.name,
                [*self.command(), f"--cells={cell.name}"],
                self.runner.out / f"{cell.name}.log",
                partial(self.runner.is_needed, cell),
            )
            for cell in self.cells
        ]
        return run_jobs(jobs, at_once, self.runner.threads, devices)

    def run_named(self, names: Sequence[str]) -> Path:
        """Run cells of these names in this process; returns their folder.

        Raises:
            UsageError: there is no such cell; the message suggests the nearest.
            Exception: whatever went wrong.
        """
        known = {cell.name: cell for cell in self.cells}
        for name in names:
            if name not in known:
                raise UsageError(f"{name!r} is no cell of {self.runner.grid.name}. {nearest(name, known)}")
        for name in names:
            self.runner.run(known[name])
            if "WANDB_SWEEP_ID" in os.environ and self.runner.is_done(known[name]):
                tell_agent(name, json.loads((self.runner.out / name / "metrics.json").read_text()))
        return self.runner.out

    def as_sweep(self, file: str) -> Path:
        """Write the cells as a sweep of Weights & Biases; returns its file."""
        path = write_sweep(file, self.runner.grid.name, self.cells, self.command(), self._table_command())
        log.info("wrote %s: %d cells. `wandb sweep %s`, then `wandb agent …`", path, len(self.cells), path)
        return path

    def on_slurm(self, options: str) -> Path:
        """Submit the cells that are not done; returns the folder of cells."""
        waiting = [cell for cell in self.cells if not self.runner.is_done(cell)]
        if waiting:
            folder = self.runner.out / "slurm"
            number = submit(self.runner, waiting, slurm_options(options), folder)
            log.info("submitted %d cells to Slurm as array %s: `squeue -j %s`", len(waiting), number, number)
            log.info("what they print: %s/%s_*.out, and .err", folder, number)
        log.info("%d of %d cells are done", len(self.cells) - len(waiting), len(self.cells))
        log.info("their table, at any time: %s", self._table_command())
        return self.runner.out

    def _table_command(self) -> str:
        return shlex.join(["python", "-m", *self.command(), "--table_only"])
