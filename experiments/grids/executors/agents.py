"""A grid as a sweep of Weights & Biases: its agents, on any machines, each pick cells until none is left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from experiments.grids.grid import Cell
from experiments.run.folder import output_file

_HEAD: Final = """\
# The cells of a grid as a sweep of Weights & Biases, written by `warpmark grid … --as_sweep`.
#
#     wandb sweep {file}    (once; it prints the sweep's name)
#     wandb agent ENTITY/PROJECT/SWEEP    (as often as there are machines or GPUs)
#
# in a folder in which the paths below lead to the same files on all machines. A cell that is done, or that another
# agent is at, is left alone; one that was cut short goes on where it was. The table, at any time:
#
#     {table}
"""


def write_sweep(file: str, name: str, cells: Sequence[Cell], command: Sequence[str], table: str) -> Path:
    """Write the sweep's YAML.

    Args:
        file: where to.
        name: of the sweep.
        cells: one run each.
        command: ``experiments grid …``, to which an agent adds its ``--cells=NAME``.
        table: the command that shows the table.

    Raises:
        UsageError: the file cannot be written.
    """
    path = output_file(file, (".yaml", ".yml"))
    program, *words = command
    content = {
        "name": name,
        "program": program,
        "command": ["${env}", "${interpreter}", "-m", program, *words, "${args}"],
        "method": "grid",
        "parameters": {"cells": {"values": [cell.name for cell in cells]}},
    }
    head = _HEAD.format(file=path, table=table)
    path.write_text(head + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True), encoding="utf-8")
    return path


def tell_agent(name: str, metrics: Mapping[str, Any]) -> None:
    """Send a finished cell's scores to the sweep's run that it is."""
    import wandb

    scores = {
        f"test/{subset}/{score}": value for subset, found in metrics["test"].items() for score, value in found.items()
    }
    with wandb.init(project="warpmark", name=name) as run:
        run.summary.update({**scores, "average_nme": metrics["average_nme"]})
