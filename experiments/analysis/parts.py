"""Where in the face a landmarker errs: NME of each region, and the jaw's along its contour and across it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.ibug68 import PARTS, REGIONS, interocular_distance
from experiments.analysis.measured import Array, Measured, subset_names
from experiments.intervals import bootstrap_interval

ALL: Final = "all"
ALONG, ACROSS = "jaw, along", "jaw, across"
PART_NAMES: Final = (ALL, *REGIONS, ALONG, ACROSS)
"""All 68 landmarks, the regions, and the two components of the jaw's error."""


@dataclass(frozen=True)
class PartScores:
    """Mean errors on the faces of a subset, in % of the inter-ocular distance.

    Attributes:
        landmarker: its name.
        subset: of the faces.
        count: how many faces.
        fr8: share of faces whose NME exceeds 8 %, in %.
        auc8: area under the cumulative error curve up to 8 %, in %.
        means: of each of :data:`PART_NAMES`.
        intervals: of the means: 95 %, by the bootstrap over faces.
    """

    landmarker: str
    subset: str
    count: int
    fr8: float
    auc8: float
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    def in_words(self, part: str) -> str:
        """A part's mean and interval."""
        low, high = self.intervals[part]
        return f"{self.means[part]:.2f} ({low:.2f}–{high:.2f})"


def part_errors(measured: Measured) -> dict[str, Array]:
    """Each face's mean error in each of :data:`PART_NAMES`, in % of the inter-ocular distance, shape ``(N,)``."""
    regions = {name: measured.errors[:, list(points)].mean(1) for name, points in REGIONS.items()}
    along, across = jaw_components(measured.found, measured.labels)
    return {ALL: measured.nme, **regions, ALONG: along.mean(1), ACROSS: across.mean(1)}


def jaw_components(found: Array, labels: Array) -> tuple[Array, Array]:
    """How far the jaw's landmarks lie from their labels along the labelled contour, and across it.

    The contour's direction at a label is that from the label before it to the one after (at the ends: to or from the
    only neighbour). Labels of the jaw mark no corner of the face, so two annotators differ mostly along the contour.

    Args:
        found: any frame, shape ``(N, 68, 2)``.
        labels: the same frame, shape ``(N, 68, 2)``.

    Returns:
        Both in % of the labels' inter-ocular distance, 0 or more, shape ``(N, 17)``; their squares add up to the
        squared error. Where a label's neighbours coincide, all of it is across.
    """
    jaw = list(PARTS["jaw"])
    line, miss = labels[:, jaw], found[:, jaw] - labels[:, jaw]
    padded = np.pad(line, ((0, 0), (1, 1), (0, 0)), mode="edge")
    direction = padded[:, 2:] - padded[:, :-2]
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    unit = np.divide(direction, length, out=np.zeros_like(direction), where=length > 0)
    along = np.abs((miss * unit).sum(-1))
    across = np.sqrt(np.maximum((miss**2).sum(-1) - along**2, 0))
    scale = 100 / interocular_distance(labels)[:, None]
    return along * scale, across * scale


def part_scores(measured: Sequence[Measured]) -> list[PartScores]:
    """The scores of each landmarker on each subset that it was measured on, subset by subset."""
    return [_scores(one, subset) for subset in subset_names(measured) for one in measured if subset in one.scores]


def _scores(measured: Measured, subset: str) -> PartScores:
    of_subset, scores = measured.of(subset), measured.scores[subset]
    parts = part_errors(of_subset)
    return PartScores(
        measured.landmarker,
        subset,
        len(of_subset.paths),
        scores["fr@8"],
        scores["auc@8"],
        {name: float(values.mean()) for name, values in parts.items()},
        {name: bootstrap_interval(values) for name, values in parts.items()},
    )


TABLE_HEAD: Final = ("subset", "landmarker", "faces", "NME", "FR@8", "AUC@8", *PART_NAMES[1:])


def table_rows(scores: Sequence[PartScores]) -> list[list[str]]:
    """A line of text for each of the scores, under :data:`TABLE_HEAD`."""
    return [
        [s.subset, s.landmarker, f"{s.count}", s.in_words(ALL), f"{s.fr8:.1f}", f"{s.auc8:.1f}"]
        + [s.in_words(part) for part in PART_NAMES[1:]]
        for s in scores
    ]


def write_parts(scores: Sequence[PartScores], path: Path) -> None:
    """Write a line for each part of each of the scores: its mean and the ends of its interval."""
    lines: list[list[Any]] = [["landmarker", "subset", "part", "nme", "low", "high", "n"]]
    for one in scores:
        for part in PART_NAMES:
            figures = (one.means[part], *one.intervals[part])
            lines.append([one.landmarker, one.subset, part, *(f"{value:.6f}" for value in figures), one.count])
    _write(path, lines)


def write_faces(measured: Sequence[Measured], path: Path) -> None:
    """Write a line for each face of each landmarker: its subsets, and its error in each of :data:`PART_NAMES`."""
    lines: list[list[Any]] = [["landmarker", "subsets", "path", "nme", *PART_NAMES[1:]]]
    for one in measured:
        columns = part_errors(one)
        for i, (face, subsets) in enumerate(zip(one.paths, one.subsets, strict=True)):
            errors = [f"{columns[part][i]:.6f}" for part in PART_NAMES]
            lines.append([one.landmarker, " ".join(subsets), face, *errors])
    _write(path, lines)


def _write(path: Path, lines: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows(lines)
