"""``python -m experiments curves``: NME over the epochs of finished or running runs, the paper's Figure 7."""

import argparse
import csv
import json
import logging
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from experiments.chart import Line, Panel, chart
from experiments.errors import UsageError, nearest
from experiments.figure import output_file

log = logging.getLogger(__name__)

SHADED = "warper"
"""The phase whose epochs are shaded."""


@dataclass(frozen=True)
class Logged:
    """What a run has logged.

    Attributes:
        folder: the run's.
        name: method and how it is optimised, from its configuration.
        seed: its seed.
        synthetic: whether its faces are drawn.
        nme: for each figure, (epochs done, NME in %), the source-only start first where it is known.
        phases: of each epoch, in order.
    """

    folder: Path
    name: str
    seed: str
    synthetic: bool
    nme: dict[str, list[tuple[float, float]]]
    phases: list[str]


def read_run(folder: Path) -> Logged:
    """Read the figures that a run has logged.

    Raises:
        UsageError: the folder is no run's, or has no figures yet.
    """
    table, config = folder / "nme.csv", folder / "config.yaml"
    for path in (table, config):
        if not path.is_file():
            raise UsageError(f"{path}: no such file. Give the folder of a run, runs/SETTING/METHOD-LANDMARKER/seedN.")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"epoch", "phase", "subset", "nme"} <= set(rows[0]):
        raise UsageError(
            f"{table}: expected rows of epoch, phase, figure and nme, as a run writes them after an epoch."
        )
    options = yaml.safe_load(config.read_text())
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
    return Logged(folder, _name(options), str(options["seed_everything"]), synthetic, nme, phases)


def _name(options: dict[str, Any]) -> str:
    how = options["model"].get("init_args", {}).get("optimization")
    method = str(options["run"]["method"])
    return f"{method}, {how}" if how else method


def curves(arguments: list[str]) -> Path:
    """Draw one panel a figure with a line a run; returns the file.

    Raises:
        UsageError: a folder is no run's, a figure is not known, or the output cannot be written.
    """
    parser = argparse.ArgumentParser("python -m experiments curves", description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--out", default="curves.png", help="the picture to write")
    parser.add_argument("--names", nargs="*", default=[], help="a name for each run (default: from its configuration)")
    parser.add_argument("--figures", nargs="*", default=[], help="test sets to draw (default: all)")
    options = parser.parse_args(arguments)
    if options.names and len(options.names) != len(options.runs):
        raise UsageError(f"{len(options.names)} names for {len(options.runs)} runs; give one for each.")
    out = output_file(options.out, ())
    runs = [read_run(Path(folder)) for folder in options.runs]
    names = options.names or _distinct(runs)
    known = list(dict.fromkeys(figure for run in runs for figure in run.nme))
    for figure in options.figures:
        if figure not in known:
            raise UsageError(f"{figure!r} is no figure of these runs. {nearest(figure, known)}")
    shaded = shaded_epochs(next((run.phases for run in runs if SHADED in run.phases), []))
    panels = [
        Panel(
            figure, [Line(n, run.nme[figure]) for n, run in zip(names, runs, strict=True) if figure in run.nme], shaded
        )
        for figure in options.figures or known
    ]
    notes = [f"shaded: {SHADED} phase"] if shaded else []
    if any(run.synthetic for run in runs):
        notes.append("SYNTHETIC faces: not results")
    Image.fromarray(chart(panels, "epoch", "NME in %", notes)).save(out, dpi=(150, 150))
    log.info("wrote %s", out)
    return out


def shaded_epochs(phases: list[str]) -> list[tuple[float, float]]:
    """Stretches of the warper phase: epoch k, counted from 0, lies between k and k + 1 epochs done."""
    stretches, done = [], 0
    for phase, same in groupby(phases):
        length = len(list(same))
        if phase == SHADED:
            stretches.append((float(done), float(done + length)))
        done += length
    return stretches


def _distinct(runs: list[Logged]) -> list[str]:
    """Names with the seed, or else the folder, where they would be the same."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name}, seed {run.seed}" for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]
