"""Many runs and their table."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from experiments.commands.train import train
from experiments.errors import UsageError
from experiments.grids.alignment import alignment_table
from experiments.grids.cells import Runner
from experiments.grids.executors.local import cores
from experiments.grids.grid import Cell, Grid, read_grid
from experiments.grids.report import write_report
from experiments.grids.results import read_results
from experiments.grids.work import Work

log = logging.getLogger(__name__)


def grid(
    name: str,
    data: str = "",
    source: str = "",
    target: str = "",
    test: str = "",
    profile: str = "",
    landmarker: str = "",
    out: str = "",
    rows: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    cells: tuple[str, ...] = (),
    minutes: float = 0.0,
    part: str = "1/1",
    jobs: int = 1,
    threads: int = 0,
    slurm: str = "",
    as_sweep: str = "",
    isolated: bool = True,
    table_only: bool = False,
    alignment: str = "",
    against: str = "",
) -> Path:
    """Run the cells of a grid that are not done yet, and write its table.

    Every cell is a ``train`` in a folder of its own. One that fails is named, and the others go on; cells that were cut
    short are gone on with, those made of something else (choices, data, budget) are made anew. Several processes, on
    one machine or many, may run one grid in one folder.

    Args:
        name: a grid in experiments/grids, or a YAML file
        data: folder with the published data sets, or 'synthetic'
        source: labelled photos (setting own)
        target: stylised faces (setting own)
        test: labelled faces to score (setting own)
        profile: instead of the file's; smoke tries every row in minutes
        out: folder of cells and table (default: runs/grids/NAME, or NAME-PROFILE where a profile is given)
        rows: only these rows
        seeds: these seeds instead of the file's
        cells: only these cells, by the names of their folders, in this process; write no table
        minutes: of training in each cell, instead of the file's budget
        part: k/n: of every n cells, run the k-th
        jobs: cells at once, each in a process of its own and on a GPU of its own where there are several
        threads: of torch, in each cell (default: 1; with more jobs than one, the cores are shared out)
        slurm: submit the cells to Slurm instead, with these options: partition=gpu,time=60 (minutes), or a YAML file
        as_sweep: write the cells as a sweep of Weights & Biases to this YAML file instead; its agents run them
        isolated: run each cell in a process of its own
        table_only: run nothing; write the table of what is there
        alignment: train nothing; measure whether each row's image term points to the labels of this subset
        against: also compare all rows with this one, face by face, on annotated and loose boxes

    Returns:
        The table in Markdown; beside it lie ``.csv`` and ``.tex``. With ``cells`` or ``slurm`` the folder of cells;
        with ``as_sweep`` that file.

    Raises:
        UsageError: the grid or an option is not as expected, or cells failed (after all others were done).
        DataError: bad input files.

    Examples:
        warpmark grid methods --source photos --target drawings --jobs 2
        warpmark grid table2 --data ROOT --rows 'CariFace: SL' 'CariFace: Ours' --against 'CariFace: SL'
    """
    chosen = _chosen(name, minutes, profile, landmarker)
    folders = {"data": data, "source": source, "target": target, "test": test}
    # A smoke run must not take the place of what was run in earnest.
    place = Path(out or f"runs/grids/{'-'.join(filter(None, (chosen.name, profile, landmarker)))}")
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}; expected 1 or more cells at once.")
    threads = threads or (1 if jobs == 1 else max(1, cores() // jobs))
    runner = Runner(chosen, folders, place, train, threads)
    every = chosen.all_cells(rows, seeds)
    k, n = _part(part)
    made_of = {**folders, "profile": profile, "landmarker": landmarker, "minutes": minutes}
    work = Work(runner, every[k - 1 :: n], name, {**made_of, "out": place, "threads": threads}, seeds)
    if alignment:
        return alignment_table(runner, every, alignment).show(place / "alignment")
    if cells:
        return work.run_named(cells)
    if as_sweep:
        return work.as_sweep(as_sweep)
    if slurm:
        return work.on_slurm(slurm)
    try:
        failed = [] if table_only else work.run_in_processes(jobs) if isolated else work.run_here()
    except KeyboardInterrupt:
        log.warning("stopped: cells that are finished or begun are kept in %s; the same command goes on", place)
        raise
    shown = chosen.all_cells(seeds=_seeds(place, chosen, seeds))
    place.mkdir(parents=True, exist_ok=True)
    # Of several processes that end at about the same time, the last one to write sees what all of them did.
    with FileLock(place / "table.lock"):
        return _table(runner, shown, failed, against, must_show=table_only)


def _chosen(name: str, minutes: float, profile: str, landmarker: str) -> Grid:
    chosen = read_grid(name, profile)
    if landmarker:
        chosen = replace(chosen, choices={**chosen.choices, "landmarker": landmarker})
    return replace(chosen, budget={"minutes": minutes}) if minutes else chosen


def _table(runner: Runner, cells: Sequence[Cell], failed: Sequence[str], against: str, must_show: bool) -> Path:
    """Show what is done; what is there and of something else is named."""
    for problem in failed:
        log.error("%s", problem)
    done = [cell for cell in cells if runner.is_done(cell)]
    results = read_results(runner.grid, runner.out, done)
    for cell in cells:
        if cell not in done and (runner.out / cell.name).exists() and (outdated := runner.outdated(cell)):
            log.warning("%s: was made of %s; it is not shown", cell.name, outdated)
    if others := [cell.name for cell in done if runner.is_of_other_code(cell)]:
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        log.warning("%s: trained by another version of this program's code; remove the folder to train anew", named)
    if must_show and runner.grid.rows and not results:
        raise UsageError(
            f"{runner.out}: holds no finished cell of {runner.grid.name} with these choices. Give the DATA (or SOURCE, "
            "TARGET, TEST), PROFILE and OUT of a grid that was run, or run it."
        )
    path = write_report(runner, results, against)
    if failed:
        raise UsageError(f"{len(failed)} cells failed and are missing in {path}:\n" + "\n".join(failed))
    return path


def _part(text: str) -> tuple[int, int]:
    try:
        k, n = (int(number) for number in text.split("/"))
    except ValueError:
        k, n = 0, 0
    if not 1 <= k <= n:
        raise UsageError(f"--part is {text!r}; expected k/n with 1 ≤ k ≤ n, e.g. 1/2.")
    return k, n


def _seeds(place: Path, chosen: Grid, asked: Sequence[int]) -> list[int]:
    """The grid's seeds, those asked for, and those that have a folder."""
    there = [re.search(r"-seed(\d+)$", folder.name) for folder in place.glob("*/")]
    return sorted({*chosen.seeds, *asked, *(int(found[1]) for found in there if found)})
