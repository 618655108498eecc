"""How fast training is, beside the published program's loop."""

import logging
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.bench.faces_on_disk import write_faces
from experiments.bench.training import PHASES, Bench, Compared
from experiments.bench.warp import drawn_faces, measure
from experiments.commands.bench._tables import machine, phase_table, scaling_table, show, warp_table
from experiments.errors import UsageError
from experiments.grids.tables import Table

log = logging.getLogger(__name__)


def bench_training(
    profile: Literal["quick", "paper"] = "quick",
    data: str = "",
    faces: int = 48,
    pixels: int = 800,
    batch: int = 4,
    steps: int = 4,
    rounds: int = 3,
    scaling: tuple[int, ...] = (1, 4, 16),
    warp: tuple[int, ...] = (4,),
    phases: tuple[str, ...] = PHASES,
    device: str = "",
    clock: Literal["wall", "cpu", ""] = "",
    out: str = "",
    **overrides: Any,
) -> list[Table]:
    """Time our training and the published program's in turns: each phase, the warp; ours over batch sizes.

    Both have the same SLPT, files and device, and make the published program's choices (PROFILE=paper); further
    options are ours alone, e.g. --trainer.precision=bf16-mixed.

    Args:
        profile: quick: SLPT in its light form; paper: in its full one
        data: folder with 300W/ and CariFace_dataset/ (default: drawn faces)
        faces: photos, and stylised faces
        pixels: side of drawn images
        batch: faces of a step in both loops (published: 4)
        steps: of a lap
        rounds: laps of each, after one to warm up
        scaling: batch sizes of ours by itself
        warp: batch sizes of the warp by itself
        phases: pretraining, warper, proximal
        device: cpu or cuda (default: cuda if there is one)
        clock: cpu (time of this process; on a CPU the default) or wall
        out: folder for the tables in Markdown, CSV and LaTeX (default: they are only printed)
        overrides: dotted options of the Lightning CLI, for ours

    Raises:
        UsageError: fewer faces than a batch, no round, or an unknown phase.
        DataError: the published sets are missing or malformed.

    Examples:
        warpmark bench-training --profile paper --data ROOT
    """
    if faces < max(batch, 4) or rounds < 1 or steps < 1:
        raise UsageError(
            f"found --faces={faces} --batch={batch} --steps={steps} --rounds={rounds}: expected a step, a "
            "round, and at least as many faces as a batch has, and 4."
        )
    if unknown := [name for name in phases if name not in PHASES]:
        raise UsageError(f"--phases: found {unknown[0]!r}, expected some of {', '.join(PHASES)}.")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    timed = clock or ("wall" if where.type == "cuda" else "cpu")
    if timed == "cpu":
        # CPU time is that of this process alone.
        overrides = {"data.num_workers": "0", **overrides}
    tables: list[Table] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders = write_faces(folder / "faces", faces, pixels, data)
        form: Literal["light", "full"] = "full" if profile == "paper" else "light"
        bench = Bench(folders, form, where, timed, batch, steps, rounds, overrides)
        kind = f"SLPT, {form}, {'drawn (SYNTHETIC) faces' if folders.drawn else 'true faces'}, {machine(where, timed)}"
        found: dict[str, Compared] = {}
        ours, theirs = bench.loops(folder / "runs")
        for phase, compared in bench.phases(ours, theirs, folder, [one for one in PHASES if one in phases]):
            found[phase] = compared
            log.info("%s: done", phase)
        tables.append(phase_table(f"Training beside the published loop, batches of {batch}: {kind}", found))
        show(tables[-1], out, "phases")
        if scaling and "pretraining" in found:
            scaled = list(bench.scaling(ours, scaling))
            title = f"Ours over batch sizes, pretraining: {kind}"
            tables.append(scaling_table(title, scaled, found["pretraining"].theirs))
            show(tables[-1], out, "scaling")
        for pairs in warp:
            costs = measure(drawn_faces(pairs, 256, where).first(pairs), rounds, timed)
            tables.append(warp_table(f"The warp, {pairs} pairs at 256×256, {machine(where, timed)}", costs))
            show(tables[-1], out, f"warp-{pairs}")
    return tables
