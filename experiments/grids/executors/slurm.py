"""Cells as jobs of Slurm: one array, a task for each cell, submitted through submitit."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from experiments.catalogue import read_yaml
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.grid import Cell
from lightning_modules.landmarkers.fixed import not_installed

_MINUTES: Final = 240
"""A task's time limit where none is given; one that comes to it is queued again and goes on where it was."""
_TIMES: Final = 100
"""How often."""


@dataclass(frozen=True)
class Task:
    """What a task of the array calls; pickled by submitit."""

    runner: Runner

    def __call__(self, cell: Cell) -> None:
        """Run a cell on the node."""
        # Data are looked at where and when they are used.
        replace(self.runner).run(cell)

    def checkpoint(self, cell: Cell) -> Any:
        """What submitit queues again when the task is out of time or pre-empted: the same, which resumes exactly."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, cell)


def slurm_options(text: str) -> dict[str, Any]:
    """Options of the array from ``partition=gpu,time=60``, or from a YAML file.

    Raises:
        UsageError: they are not written as expected.
    """
    if Path(text).suffix in (".yaml", ".yml"):
        options = read_yaml(Path(text), "Slurm's options in YAML")
        if not isinstance(options, dict):
            raise UsageError(f"{text}: found {type(options).__name__}; expected options of Slurm by name, in YAML.")
        return options
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise UsageError(f"--slurm is {text!r}; expected name=value,name=value, e.g. partition=gpu,time=60, or a file.")
    return {name.strip(): int(value) if value.isdigit() else value for name, _, value in pairs}


def submit(runner: Runner, cells: Sequence[Cell], options: Mapping[str, Any], folder: Path) -> str:
    """Submit cells as one array.

    Args:
        runner: of the grid; its folders must be seen by the nodes.
        cells: a task each.
        options: sbatch's, by submitit's names for them: ``partition``, ``time`` (minutes), ``gpus_per_node``,
            ``cpus_per_task``, ``mem``, ``account``, ``array_parallelism``, … and ``additional_parameters``.
        folder: where submitit keeps what it submits, and the tasks' output.

    Returns:
        The array's number.

    Raises:
        WeightsError: submitit is not installed.
        UsageError: there is no Slurm here, or an option is not as expected, or Slurm refuses the array.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
        from submitit.slurm.slurm import _make_sbatch_string
    except ImportError as error:
        raise not_installed("submitit", "slurm", "--slurm") from error
    known = [name for name in inspect.signature(_make_sbatch_string).parameters if name not in _SUBMITIT_FILLS_IN]
    for name in options:
        if name not in known:
            raise UsageError(f"--slurm: {name!r} is no option of submitit's. {nearest(name, known)}")
    usual = {"job_name": runner.grid.name, "time": _MINUTES, "cpus_per_task": runner.threads}
    if not isinstance(options.get("time", 0), int):
        raise UsageError(f"--slurm: time is {options['time']!r}; expected whole minutes, e.g. time=60.")
    try:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=_TIMES)
        executor.update_parameters(**{**usual, **options})
        jobs = executor.map_array(Task(runner), list(cells))
    except FailedJobError as error:
        raise UsageError(f"Slurm refuses the array: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise UsageError(f"--slurm: {error} Submit from a machine that has Slurm's srun and sbatch.") from error
    return str(jobs[0].job_id).partition("_")[0]


_SUBMITIT_FILLS_IN: Final = ("command", "folder", "map_count")
