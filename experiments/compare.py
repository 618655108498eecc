"""``python -m experiments compare``: many whole runs under one budget, and their table.

A comparison is a YAML file (see ``experiments/comparisons/``). Each of its runs is a ``train`` in a process of its own,
in a folder of its own with all that a run leaves. Runs that are there are not done again, and several processes may
share the work (``--part 1/2``); a run that fails is named, and the others go on.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

from experiments.comparison import cells, command_line, read_comparison, run_cell
from experiments.comparison_table import comparison_table, read_results
from experiments.errors import UsageError, nearest
from experiments.landmarker_cost import landmarker_costs
from experiments.study import part

log = logging.getLogger(__name__)


def compare(arguments: list[str]) -> Path:
    """Run what is missing of a comparison and write its table; returns the table's path.

    Raises:
        UsageError: the comparison or an option is not as expected, or runs failed (after all others were done).
        DataError: bad input files.
    """
    options = _parser().parse_args(arguments)
    chosen = read_comparison(options.comparison)
    if options.minutes:
        chosen = dataclasses.replace(chosen, budget={"minutes": options.minutes})
    rows, seeds = options.rows or list(chosen.rows), options.seeds or chosen.seeds
    for row in rows:
        if row not in chosen.rows:
            raise UsageError(f"{row!r} is no row of {chosen.name}. {nearest(row, chosen.rows)}")
    out = Path(options.out or f"runs/comparisons/{chosen.name}")
    folders = [
        f"--{kind}={folder}" for kind in ("data", "source", "target", "test") if (folder := getattr(options, kind))
    ]
    k, n = part(options.part)
    failed = []
    for cell in [] if options.table_only else cells(chosen, rows, seeds)[k - 1 :: n]:
        log.info("%s", cell.name)
        if problem := run_cell(chosen, cell, folders, out, options.threads):
            log.error("%s", problem)
            failed.append(problem)
    results = read_results(chosen, out)
    costs = {}
    if len({chosen.rows[result.cell.row].get("landmarker") for result in results}) > 1:
        torch.set_num_threads(options.threads)
        shown = {result.cell.row: result.cell for result in results}
        costs = landmarker_costs(
            {row: command_line(chosen, cell, folders).method.landmarker for row, cell in shown.items()}
        )
    path = out / "table.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_table(chosen, results, costs))
    log.info("wrote %s", path)
    if failed:
        raise UsageError(f"{len(failed)} runs failed; their rows are left out of {path}:\n" + "\n".join(failed))
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m experiments compare", description=__doc__, allow_abbrev=False)
    parser.add_argument("comparison", help="a name in experiments/comparisons, or a file")
    parser.add_argument("--data", default="", help="folder with the published data sets, or 'synthetic'")
    parser.add_argument("--source", default="", help="labelled photos (setting own)")
    parser.add_argument("--target", default="", help="stylised faces (setting own)")
    parser.add_argument("--test", default="", help="labelled faces to score (setting own)")
    parser.add_argument("--out", default="", help="folder of runs and table (default: runs/comparisons/NAME)")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--seeds", nargs="*", type=int, help="these seeds instead of the file's")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training, instead of the file's budget")
    parser.add_argument("--part", default="1/1", help="k/n: of every n runs, do the k-th")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each run")
    parser.add_argument("--table-only", action="store_true", help="run nothing; write the table of what is there")
    return parser
