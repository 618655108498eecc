"""Faces with what landmarkers found on them: the worst ones, and several landmarkers on the same faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from callbacks.drawing import GREEN, RED, SYNTHETIC, draw_image, draw_landmarks, page
from datamodules.faces import Face, landmark_box
from datamodules.transforms import CROP_FACTOR, Square, apply_matrix, cut
from experiments.analysis.measured import Array, Measured

_AROUND: Final = 1.5
"""Side of what is shown of a face over the longer side of its labels' box."""
_SIZE: Final = 300
"""Side of what is shown, in pixels."""
_LONGEST_NAME: Final = 24
"""Letters of a face's name that fit above its panel."""


def draw_worst(measured: Measured, subset: str, count: int = 12, synthetic: bool = False) -> Figure:
    """The faces of a subset on which a landmarker errs most, the worst first: labels in green, what it found in red.

    Args:
        measured: the landmarker.
        subset: that it was measured on.
        count: of faces; all where there are fewer.
        synthetic: mark the picture as one of drawn faces.
    """
    of_subset = measured.of(subset)
    worst = of_subset.at(np.argsort(-of_subset.nme, kind="stable")[:count].tolist())
    columns = min(4, len(worst.paths))
    rows = -(-len(worst.paths) // columns)
    shown = [f"{_shortened(name)}: {nme:.1f} %" for name, nme in zip(worst.names, worst.nme, strict=True)]
    titles = [*shown, *[""] * (rows * columns - len(shown))]
    figure, panels = page(rows, columns, titles, SYNTHETIC if synthetic else None, side=2.2, dpi=150)
    for panel, face, found in zip([one for row in panels for one in row], worst.faces, worst.found, strict=False):
        _draw_face(panel, face, [(_labels(face), GREEN), (found, RED)])
    said = (
        f"{measured.landmarker} on {subset}: the worst {len(worst.paths)} of {len(of_subset.paths)} faces, NME in %. "
        "Green: labels, red: found"
    )
    figure.text(0.01, 1.0, said, fontsize=9, va="bottom")
    return figure


@dataclass(frozen=True)
class Line:
    """A line of a comparison: what one landmarker found on its faces.

    Attributes:
        name: written beside it.
        found: image pixels, shape ``(N, 68, 2)``.
        nme: of each face, in %, shape ``(N,)``.
    """

    name: str
    found: Array
    nme: Array


def draw_comparison(faces: Sequence[Face], lines: Sequence[Line], caption: str, synthetic: bool = False) -> Figure:
    """The same faces in every line: their labels in green first, then what each landmarker found, in red, and its NME.

    Args:
        faces: N labelled faces.
        lines: of landmarkers.
        caption: text below.
        synthetic: mark the picture as one of drawn faces.
    """
    titles = [_shortened(Path(face.path).stem) for face in faces]
    figure, panels = page(1 + len(lines), len(faces), titles, SYNTHETIC if synthetic else None, side=1.5, dpi=200)
    for panel, face in zip(panels[0], faces, strict=True):
        _draw_face(panel, face, [(_labels(face), GREEN)])
    for row, line in zip(panels[1:], lines, strict=True):
        for panel, face, found, nme in zip(row, faces, line.found, line.nme, strict=True):
            _draw_face(panel, face, [(found, RED)])
            _write_inside(panel, f"{nme:.1f}")
    for row, name in zip(panels, ["ground truth", *(line.name for line in lines)], strict=True):
        row[0].text(-0.04, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=7)
    figure.text(0, 0, caption, fontsize=7, va="top", linespacing=1.3)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Write a page with what is written around its panels."""
    figure.savefig(file, bbox_inches="tight", pad_inches=0.08)


def _draw_face(panel: Axes, face: Face, drawn: Sequence[tuple[Array, str]]) -> None:
    """A face with its surroundings, and landmarks in image pixels, each in its colour."""
    square = Square.around(landmark_box(_labels(face).astype(np.float32))).scaled(_AROUND / CROP_FACTOR)
    matrix = square.matrix(_SIZE)
    draw_image(panel, cut(face.image, matrix, _SIZE))
    for landmarks, colour in drawn:
        draw_landmarks(panel, torch.from_numpy(apply_matrix(matrix, landmarks) / _SIZE), _SIZE, colour)


def _write_inside(panel: Axes, text: str) -> None:
    outline = [withStroke(linewidth=1.6, foreground="black")]
    panel.text(0.03, 0.03, text, transform=panel.transAxes, color="white", fontsize=7, path_effects=outline)


def _labels(face: Face) -> Array:
    assert face.landmarks is not None, "what is compared is labelled"
    return face.landmarks.astype(np.float64)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 9]}…{name[-8:]}"
