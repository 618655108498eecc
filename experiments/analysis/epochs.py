"""NME over the epochs of runs: what they logged, and its curves (the paper's Figure 7)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from callbacks.drawing import OKABE_ITO, mark_synthetic
from callbacks.nme_table import read_rows
from experiments.errors import UsageError
from experiments.run.configuration import read_configuration

SHADED: Final = "warper"
"""The phase whose epochs are shaded."""


@dataclass(frozen=True)
class LoggedRun:
    """What a run has logged.

    Attributes:
        folder: the run's.
        name: method and how it is optimised, from its configuration.
        seed: its seed.
        synthetic: whether its faces are drawn.
        nme: for each subset, (epochs done, NME in %), the source-only start first where it is known.
        phases: of each epoch, in order.
    """

    folder: Path
    name: str
    seed: str
    synthetic: bool
    nme: dict[str, list[tuple[float, float]]]
    phases: list[str]


def read_run(folder: Path) -> LoggedRun:
    """Read the scores that a run has logged.

    Raises:
        UsageError: the folder is no run's, or has no scores yet.
    """
    table, config = folder / "nme.csv", folder / "config.yaml"
    for path in (table, config):
        if not path.is_file():
            raise UsageError(f"{path}: no such file. Give the folder of a run, runs/SETTING/METHOD-LANDMARKER/seedN.")
    rows = read_rows(table)
    if not rows or not {"epoch", "phase", "subset", "nme"} <= set(rows[0]):
        raise UsageError(
            f"{table}: found no rows of epoch, phase, subset and nme; expected those of one epoch or more."
        )
    options = read_configuration(config)
    results = folder / "metrics.json"
    metrics: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    source_only = (metrics.get("source_only") or {}).get("test", {})
    nme: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        start = source_only.get(row["subset"])
        points = nme.setdefault(row["subset"], [(0.0, start["nme"])] if start else [])
        points.append((float(row["epoch"]) + 1, float(row["nme"])))
    phases = [next(same)["phase"] for _, same in groupby(rows, key=lambda row: row["epoch"])]
    own = options["run"]["setting"] == "own"
    synthetic = metrics.get("data", "files" if own else options["paths"]["data"]) == "synthetic"
    return LoggedRun(folder, _name(options), str(options["seed_everything"]), synthetic, nme, phases)


def _name(options: dict[str, Any]) -> str:
    how = options["model"].get("init_args", {}).get("optimization")
    method = str(options["run"]["method"])
    return f"{method}, {how}" if how else method


def draw_curves(runs: Sequence[LoggedRun], names: Sequence[str], subsets: Sequence[str]) -> Figure:
    """A panel for each subset with a line for each run; the warper phases of the first run that has any are shaded.

    Args:
        runs: at least one.
        names: one for each run.
        subsets: at least one.
    """
    columns = min(2, len(subsets))
    rows = math.ceil(len(subsets) / columns)
    figure = Figure((5 * columns, 3.5 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    shaded = shaded_epochs(next((run.phases for run in runs if SHADED in run.phases), []))
    for panel, subset in zip_longest(panels, subsets):
        if subset is None:
            panel.set_axis_off()
            continue
        panel.set_prop_cycle(color=OKABE_ITO)
        for run, name in zip(runs, names, strict=True):
            panel.plot(*zip(*run.nme.get(subset, [(math.nan, math.nan)]), strict=True), label=name, marker=".")
        for begin, end in shaded:
            panel.axvspan(begin, end, color="0.9", linewidth=0, label=f"{SHADED} phase", zorder=0)
        panel.set(title=subset, xlabel="epochs done", ylabel="NME in %")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
        panel.grid(axis="y", color="0.85")
        panel.spines[["top", "right"]].set_visible(False)
    entries = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    figure.legend(entries.values(), entries, loc="outside lower left", frameon=False, ncols=columns)
    mark_synthetic(figure, any(run.synthetic for run in runs))
    return figure


def shaded_epochs(phases: list[str]) -> list[tuple[float, float]]:
    """Stretches of the warper phase: epoch k, counted from 0, lies between k and k + 1 epochs done."""
    stretches, done = [], 0
    for phase, same in groupby(phases):
        length = len(list(same))
        if phase == SHADED:
            stretches.append((float(done), float(done + length)))
        done += length
    return stretches


def distinct_names(runs: list[LoggedRun]) -> list[str]:
    """Names with the seed, or else the folder, where they would be the same."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name}, seed {run.seed}" for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]
