"""Landmarkers side by side under one protocol: the annotated box, one crop, and averaged over crops."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.grids.tables import Table
from experiments.intervals import bootstrap_interval
from experiments.published_sets import Column
from experiments.scoring import AVERAGED, Protocol, score
from lightning_modules.landmarkers.base import Landmarker


@dataclass(frozen=True)
class Result:
    """A landmarker's errors on the faces of a subset.

    Attributes:
        landmarker: its name.
        subset: name of the faces' subset.
        averaged: whether its estimates are means over crops.
        faces: path and NME in % of each face.
    """

    landmarker: str
    subset: str
    averaged: bool
    faces: list[tuple[str, float]]

    @property
    def nme(self) -> float:
        """Mean over the faces, in %."""
        return float(np.mean([nme for _, nme in self.faces]))

    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean over faces; the same draws each time."""
        return bootstrap_interval([nme for _, nme in self.faces])

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.nme:.2f} ({low:.2f}–{high:.2f})"


def compare(name: str, landmarker: Landmarker, on: Sequence[Column], scales: Sequence[float]) -> list[Result]:
    """A landmarker's results on each subset: on one crop, and as the mean over mirror image and ``scales``."""
    protocols = {
        False: Protocol(),
        True: replace(AVERAGED, inference=replace(AVERAGED.inference, scales=tuple(scales))),
    }
    return [
        Result(name, column.subset, averaged, _faces(landmarker, column, protocol))
        for column in on
        for averaged, protocol in protocols.items()
    ]


def _faces(landmarker: Landmarker, column: Column, protocol: Protocol) -> list[tuple[str, float]]:
    return [(face.path, face.nme) for face in score(landmarker, [column.test], protocol=protocol).per_face]


def comparison_table(names: Sequence[str], on: Sequence[Column], results: Sequence[Result], title: str) -> Table:
    """A row for each landmarker, with a dash where it was not scored; two columns for each subset."""
    found = {(one.landmarker, one.subset, one.averaged): str(one) for one in results}
    kinds = [(column, averaged) for column in on for averaged in (False, True)]
    head = [f"{c.subset} ({c.count}), {'averaged' if averaged else 'one crop'}" for c, averaged in kinds]
    rows = [[name, *(found.get((name, c.subset, averaged)) for c, averaged in kinds)] for name in names]
    return Table(title, ["landmarker", *head], rows)


def write_results(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write ``results.csv``, a row for each result, and ``faces.csv``, a row for each of its faces."""
    files = [folder / "results.csv", folder / "faces.csv"]
    with files[0].open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("landmarker", "subset", "averaged", "nme", "low", "high", "n"))
        for one in results:
            figures = [f"{value:.6f}" for value in (one.nme, *one.interval())]
            writer.writerow((one.landmarker, one.subset, one.averaged, *figures, len(one.faces)))
    with files[1].open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("landmarker", "subset", "averaged", "path", "nme"))
        for one in results:
            writer.writerows((one.landmarker, one.subset, one.averaged, path, f"{nme:.6f}") for path, nme in one.faces)
    return files
