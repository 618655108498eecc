"""Figure 8: photos warped onto stylised faces by several kinds of warping fields, and what is measured of these."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from callbacks.drawing import RED, SYNTHETIC, draw_image, draw_landmarks, page
from callbacks.field_drawing import draw_deformed_grid
from datamodules.faces import DataError
from experiments.artifacts.field_files import build_field
from experiments.artifacts.fields import FieldTraining
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.figures.field_faces import TrainingData, composed, face_pairs
from experiments.grids.figures.field_measures import FacePairs, FieldMeasures, measure_field, measures_table
from experiments.grids.results import Result
from lightning_modules.warping import FieldFitter
from lightning_modules.weights import WeightsError

log = logging.getLogger(__name__)

_SIDE = 1.3
"""Of a panel, in inches."""


_EXPECTED = (
    "class_path, and possibly init_args, landmarks (predicted or labels) and train (recipe, files, max_epochs, "
    "steps_per_epoch, batch_size, learning_rate)"
)


@dataclass(frozen=True)
class FieldChoice:
    """One kind of field of the figure.

    Attributes:
        class_path: of a :class:`FieldFitter`.
        init_args: of it.
        landmarks: ``predicted`` on the stylised faces, or their ``labels``, what it is fitted to.
        recipe: of :attr:`TrainingData.recipes`, which makes its weights; empty for a field that is not trained here.
        files: places of what it is trained on, counted from DATA, of which the first that is there is taken.
        how: it is trained.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)
    landmarks: str = "predicted"
    recipe: str = ""
    files: Sequence[str] = ()
    how: FieldTraining | None = None

    @classmethod
    def read(cls, title: str, spec: Mapping[str, Any]) -> "FieldChoice":
        """As the grid's file says, with ``train`` holding recipe, files, and what :class:`FieldTraining` takes.

        Raises:
            UsageError: it is not as expected.
        """
        given = dict(spec)
        train = dict(given.pop("train", {}))
        told = {name: train.pop(name) for name in ("recipe", "files") if name in train}
        try:
            choice = cls(**given, **told, how=FieldTraining(**train) if train else None)
        except TypeError as error:
            raise UsageError(f"figure.fields: {title!r} is {dict(spec)} ({error}); expected {_EXPECTED}.") from error
        if choice.landmarks not in ("predicted", "labels") or bool(choice.recipe) != bool(choice.how):
            raise UsageError(f"figure.fields: {title!r} is {dict(spec)}; expected {_EXPECTED}.")
        return choice

    def make(self, data: TrainingData) -> FieldFitter:
        """The fitter, trained if it is to be.

        Raises:
            UsageError: there is no such class or recipe, or it does not take these arguments.
            WeightsError: weights cannot be read or downloaded.
            DataError: what it is trained on is missing or malformed.
        """
        arguments = dict(self.init_args)
        if self.how is not None:
            if self.recipe not in data.recipes:
                raise UsageError(f"figure.fields: recipe {self.recipe!r}. {nearest(self.recipe, data.recipes)}")
            arguments["weights"] = str(data.recipes[self.recipe](self.how, self.files, arguments))
        return build_field({"class_path": self.class_path, "init_args": arguments}, "figure.fields")


def draw(
    runner: Runner,
    results: Sequence[Result],
    fields: Mapping[str, Mapping[str, Any]],
    landmarks: str = "warpmark-light",
    subset: str = "",
    pairs: int = 24,
    shown: int = 3,
    size: int = 256,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Measure fields on pairs of faces, and draw the first ones.

    Writes ``fields.png`` and ``fields.pdf``, and the table ``fields.md``, ``.csv`` and ``.tex``. A field whose weights
    or data are not at hand is named, and missing in both.

    Args:
        runner: its grid's setting gives the faces; it needs no cells.
        results: not used.
        fields: by title, see :class:`FieldChoice`.
        landmarks: a landmarker's checkpoint, which finds the stylised faces' landmarks; or ``labels``.
        subset: of the test set whose stylised faces are taken; that of the last one if empty.
        pairs: how many are measured.
        shown: how many are drawn.
        size: of the crops in pixels.
        profiles: by profile, what it changes of all these.

    Returns:
        The table in Markdown.

    Raises:
        UsageError: a field or an option is not as expected.
    """
    given = {"fields": fields, "landmarks": landmarks, "subset": subset, "pairs": pairs, "shown": shown, "size": size}
    how: Any = OmegaConf.merge(given, (profiles or {}).get(runner.grid.choices.get("profile", ""), {}))
    specs: Mapping[str, Any] = OmegaConf.to_container(how.fields)  # type: ignore[assignment]  # names are texts
    chosen = {title: FieldChoice.read(title, spec) for title, spec in specs.items()}
    cli = composed(runner)
    cli.data.setup()
    faces = face_pairs(cli, how.landmarks, how.subset, how.pairs, how.size)
    data = TrainingData(cli, how.landmarks, how.size)
    measures = {title: _measured(title, choice, data, faces) for title, choice in chosen.items()}
    synthetic = cli.data.synthetic
    fitted = "labels" if how.landmarks == "labels" else f"predictions of {how.landmarks}"
    title = f"{'SYNTHETIC faces: not results. ' if synthetic else ''}{runner.grid.name}: {len(faces)} pairs, {fitted}"
    path = measures_table(title, list(measures), list(measures.values())).show(runner.out / "fields")
    there = {name: found for name, found in measures.items() if found}
    if there:
        figure = draw_fields(faces, there, min(how.shown, len(faces)), SYNTHETIC if synthetic else None)
        for suffix in (".png", ".pdf"):
            figure.savefig(runner.out / f"fields{suffix}")
        log.info("wrote %s", runner.out / "fields.png")
    return path


def _measured(title: str, choice: FieldChoice, data: TrainingData, faces: FacePairs) -> FieldMeasures | None:
    try:
        fitter = choice.make(data)
    except (WeightsError, DataError) as error:
        log.warning("%s is left out: %s", title, error)
        return None
    return measure_field(fitter, faces, choice.landmarks == "labels")


def draw_fields(faces: FacePairs, measures: Mapping[str, FieldMeasures], shown: int, note: str | None) -> Figure:
    """Of each pair two rows: the photo, and it warped by each field; the stylised face, and each field as a grid.

    Args:
        faces: the pairs.
        measures: by title, of each field.
        shown: how many pairs are drawn, spread evenly.
        note: a line of text at the foot.
    """
    size = faces.photos.shape[-1]
    figure, panels = page(2 * shown, 1 + len(measures), ["photo, stylised face", *measures], note, _SIDE, dpi=150)
    places = torch.linspace(0, len(faces) - 1, shown).round().long().tolist()
    for row, place in enumerate(places):
        above, below = panels[2 * row : 2 * row + 2]
        draw_image(above[0], faces.photos[place])
        draw_image(below[0], faces.stylised[place])
        draw_landmarks(below[0], faces.predicted[place], size, RED)
        for column, found in enumerate(measures.values(), start=1):
            draw_image(above[column], found.warped[place])
            draw_image(below[column], faces.photos[place])
            draw_deformed_grid(below[column], found.grid[place], size)
    return figure
