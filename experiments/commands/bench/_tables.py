"""What benches measured, as tables: ratios with their spread over the rounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from experiments.bench.measuring import Clock, Lap, median_waiting, ratios
from experiments.bench.training import Compared, Scaled
from experiments.bench.warp import COPY, KORNIA, PUBLISHED, WarpCost
from experiments.grids.tables import Entry, Stat, Table

_MIB: Final = 2**20


def phase_table(title: str, phases: Mapping[str, Compared]) -> Table:
    """A line for each phase of training: images a second, the ratio, the bound, waiting, memory."""
    head = [
        "phase",
        "published, images/s",
        "ours, images/s",
        "times as fast",
        "network alone would be",
        "published waits, %",
        "ours waits at first, %",
        "ours waits, %",
        "published, peak MiB",
        "ours, peak MiB",
    ]
    return Table(title, head, [_phase_row(name, found) for name, found in phases.items()])


def _phase_row(name: str, found: Compared) -> list[Entry]:
    return [
        name,
        _rates(found.theirs),
        _rates(found.ours),
        Stat.of(ratios(found.ours, found.theirs)),
        Stat.of([found.most]),
        Stat.of([median_waiting(found.theirs)], "1f"),
        Stat.of([found.first.waiting_share], "1f") if found.first else None,
        Stat.of([median_waiting(found.ours)], "1f"),
        _mebibytes(found.their_bytes),
        _mebibytes(found.our_bytes),
    ]


def scaling_table(title: str, scaled: Sequence[Scaled], published: Sequence[Lap]) -> Table:
    """Ours over batch sizes, as multiples of the published loop's mean rate at its own."""
    theirs = Stat.of([lap.rate for lap in published]).mean or float("nan")
    rows: list[list[Entry]] = [
        [
            str(one.batch),
            _rates(one.laps),
            Stat.of([lap.rate / theirs for lap in one.laps]),
            Stat.of([median_waiting(one.laps)], "1f"),
            _mebibytes(one.bytes),
        ]
        for one in scaled
    ]
    return Table(title, ["batch", "images/s", "times the published loop", "waits, %", "peak MiB"], rows)


def warp_table(title: str, costs: Mapping[str, WarpCost]) -> Table:
    """A line for each way to warp: its time, and as ratios to the published one, to kornia's, to a copy."""
    head = ["warp", "forward, ms", "times as fast as published", "times a copy's time"]
    head += ["forward and backward, ms", "times as fast as kornia", "peak MiB"]
    return Table(title, head, [_warp_row(name, costs) for name in costs])


def _warp_row(name: str, costs: Mapping[str, WarpCost]) -> list[Entry]:
    one, kornia = costs[name], costs[KORNIA].both
    return [
        name,
        _milliseconds(one.forward),
        Stat.of(_over(costs[PUBLISHED].forward, one.forward)),
        Stat.of(_over(one.forward, costs[COPY].forward), "1f"),
        _milliseconds(one.both) if one.both else None,
        Stat.of(_over(kornia, one.both)) if one.both and kornia else None,
        _mebibytes(one.bytes),
    ]


def machine(device: torch.device, clock: Clock) -> str:
    """What it was measured on, and by which clock."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{named}, {'CPU time' if clock == 'cpu' else 'by the clock'}"


def show(table: Table, out: str, name: str) -> None:
    """Print a table; and write it into the folder ``out``, if one is given."""
    if out:
        table.show(Path(out) / name)
    else:
        print(f"{table.title}\n{table.text('rounded_outline')}")


def _over(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same rounds."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def _milliseconds(taken: Sequence[float]) -> Stat:
    return Stat.of([1e3 * each for each in taken])


def _rates(laps: Sequence[Lap]) -> Stat:
    return Stat.of([lap.rate for lap in laps])


def _mebibytes(count: int | None) -> Stat | None:
    return None if count is None else Stat.of([count / _MIB], "0f")
