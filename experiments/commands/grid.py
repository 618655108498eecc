"""Many runs and their table."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.commands.train import train
from experiments.errors import UsageError
from experiments.grids.alignment import alignment_table
from experiments.grids.cells import Runner
from experiments.grids.grid import Grid, read_grid
from experiments.grids.report import write_report
from experiments.grids.results import read_results

log = logging.getLogger(__name__)


def grid(
    name: str,
    data: str = "",
    source: str = "",
    target: str = "",
    test: str = "",
    profile: str = "",
    out: str = "",
    rows: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    minutes: float = 0.0,
    part: str = "1/1",
    threads: int = 1,
    isolated: bool = True,
    table_only: bool = False,
    alignment: str = "",
    against: str = "",
) -> Path:
    """Run the cells of a grid that are not done yet, and write its table.

    Every cell is a ``train`` in a folder of its own. One that fails is named, and the others go on; cells that were cut
    short are gone on with. Several processes may run one grid in one folder.

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
        minutes: of training in each cell, instead of the file's budget
        part: k/n: of every n cells, run the k-th
        threads: of torch, in each cell
        isolated: run each cell in a process of its own
        table_only: run nothing; write the table of what is there
        alignment: train nothing; measure whether each row's image term points to the labels of this subset
        against: also compare all rows with this one, face by face, on annotated and loose boxes

    Returns:
        The table in Markdown; beside it lie ``.csv`` and ``.tex``.

    Raises:
        UsageError: the grid or an option is not as expected, or cells failed (after all others were done).
        DataError: bad input files.
    """
    chosen = read_grid(name, profile)
    if minutes:
        chosen = replace(chosen, budget={"minutes": minutes})
    folders = {"data": data, "source": source, "target": target, "test": test}
    # A smoke run must not take the place of what was run in earnest.
    place = Path(out or f"runs/grids/{'-'.join([chosen.name, *([profile] if profile else [])])}")
    runner = Runner(chosen, folders, place, train, threads, isolated)
    cells = chosen.all_cells(rows, seeds)
    if alignment:
        return alignment_table(runner, cells, alignment).show(place / "alignment")
    k, n = _part(part)
    failed = [] if table_only else [problem for cell in cells[k - 1 :: n] if (problem := runner.run(cell))]
    for problem in failed:
        log.error("%s", problem)
    shown = [c for c in chosen.all_cells(seeds=_seeds(place, chosen, seeds)) if table_only or runner.is_done(c)]
    results = read_results(chosen, place, shown)
    if table_only and not results:
        raise UsageError(f"{place}: holds no finished cell of {chosen.name}. Give the OUT of a grid that was run.")
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
