"""How well 68 landmarks carry an artist's warp: splines through them and AutoToon against the artist's own picture."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from callbacks.drawing import draw_image, page
from datamodules.datasets.pairs import PairBatch, read_pairs, split_places
from experiments.artifacts.fields import FieldTraining, trained_autotoon
from experiments.errors import UsageError
from experiments.grids.cells import Runner
from experiments.grids.figures.field_faces import composed
from experiments.grids.results import Result
from experiments.grids.tables import Entry, Stat, Table
from lightning_modules.metrics import face_nme
from lightning_modules.warping import FieldFitter, GradientNCC, SplineFitter, face_region_mask, masked_mean
from lightning_modules.warping.fields.autotoon import AutoToon
from lightning_modules.warping.fields.dense import Identity
from lightning_modules.warping.fields.inverse import carried

log = logging.getLogger(__name__)

_HEAD = ("grey levels", "grey levels, face", "gradient correlation, face", "NME %", "n")
_MARGIN = 0.05
"""By which the face's hull is grown, in crops: some forehead, and what is beside the jaw."""
_SHOWN = 5


def draw(
    runner: Runner,
    results: Sequence[Result],
    size: int = 128,
    orders: Sequence[int] = (1, 2, 3, 4),
    smoothings: Sequence[float] = (0.0, 0.001, 0.01, 0.1),
    anchors: int = 9,
    autotoon: Mapping[str, Any] | None = None,
) -> Path:
    """Measure how near each warp comes to the artist's picture, on all pairs and on AutoToon's test pairs.

    Writes the table ``artist_warps.md``, ``.csv`` and ``.tex``, and ``artist_warps.png``.

    Args:
        runner: its ``source`` is the folder of pairs.
        results: not used.
        size: of the crops in pixels.
        orders: of the spline.
        smoothings: its λ.
        anchors: its fixed points along each side of the crop; at λ = 0 it is measured without them, too.
        autotoon: ``init_args`` of :class:`AutoToon` and what :class:`FieldTraining` takes; None or empty leaves it out.

    Returns:
        The table in Markdown.

    Raises:
        UsageError: no folder is given.
        DataError: the pairs are missing or malformed.
    """
    source = runner.folders.get("source", "")
    if not source:
        raise UsageError(
            f"{runner.grid.name}: found no pairs; expected --source FOLDER, with photos/ and caricatures/."
        )
    pairs = read_pairs(source, size)
    train, test = split_places(len(pairs))
    fitters: dict[str, FieldFitter] = {"no warp": Identity()}
    for order in orders:
        fitters[f"spline, order {order}, without anchors"] = SplineFitter(order)
        fitters |= {f"spline, order {order}, λ = {lam:g}": SplineFitter(order, lam, anchors) for lam in smoothings}
    if autotoon:
        how = dict(autotoon)
        options = how.pop("init_args", {})
        context = composed(runner, data="synthetic").context  # only for where runs are and what they run on
        weights = trained_autotoon(pairs.chosen(train), FieldTraining(**how), context, **options)
        fitters["AutoToon (from the photo alone)"] = AutoToon(**{**options, "weights": str(weights)})
    rows: list[list[Entry]] = []
    for name, fitter in fitters.items():
        measured = against_artist(fitter, pairs)
        # A network trained on the other pairs is only measured on the test pairs.
        parts = {"all": range(len(pairs)), "test": test} if not isinstance(fitter, AutoToon) else {"test": test}
        rows += [[name, part, *_entries(measured, places)] for part, places in parts.items()]
    title = f"{runner.grid.name}: {len(pairs)} pairs, {len(test)} of them for testing (trained on {len(train)})"
    path = Table(title, ["warp", "pairs", *_HEAD], rows).show(runner.out / "artist_warps")
    _draw(runner.out / "artist_warps.png", pairs.chosen(test), fitters)
    return path


@torch.no_grad()
def against_artist(fitter: FieldFitter, pairs: PairBatch) -> list[Tensor]:
    """What :data:`_HEAD` says, of fields fitted to the artists' landmarks; of each pair, shape ``(B,)``.

    The differences of colour are means over the crop, and over the face's hull grown by 5 % of the crop, in grey levels
    of 255. NME is of the photo's labels, carried to the caricature, against the artist's.
    """
    field = fitter.fit(pairs.photo_landmarks, pairs.caricature_landmarks, pairs.photos, pairs.caricatures)
    warped = field.warp(pairs.photos)
    difference = 255 * (warped - pairs.caricatures).abs()
    face = face_region_mask(pairs.caricature_landmarks, pairs.photos.shape[-1], margin=_MARGIN)
    correlation = 1 - GradientNCC()(warped, pairs.caricatures, face)
    nme = face_nme(carried(field, pairs.photo_landmarks), pairs.caricature_landmarks)
    return [difference.mean(dim=(1, 2, 3)), masked_mean(difference, face), correlation, nme]


def _entries(measured: Sequence[Tensor], places: Sequence[int]) -> list[Entry]:
    """The means over some pairs, and how many these are."""
    digits = ("2f", "2f", "3f", "2f")
    stats = (Stat.of(values[list(places)].tolist(), d) for values, d in zip(measured, digits, strict=True))
    return [*stats, str(len(places))]


@torch.no_grad()
def _draw(path: Path, pairs: PairBatch, fitters: Mapping[str, FieldFitter]) -> None:
    """A few pairs: the photo, what the artist made of it, and what the first of each kind of warp makes."""
    kinds = {name.split(",")[0]: fitter for name, fitter in reversed(list(fitters.items())) if name != "no warp"}
    shown = pairs.chosen(range(0, len(pairs), max(1, len(pairs) // _SHOWN)))
    arguments = (shown.photo_landmarks, shown.caricature_landmarks, shown.photos, shown.caricatures)
    warped = [fitter.fit(*arguments).warp(shown.photos) for fitter in reversed(kinds.values())]
    columns = [shown.photos, shown.caricatures, *warped]
    titles = ["photo", "the artist's", *reversed(kinds)]
    figure, panels = page(len(shown), len(columns), titles, None, side=1.6, dpi=150)
    for place, row in enumerate(panels):
        for panel, images in zip(row, columns, strict=True):
            draw_image(panel, images[place])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    log.info("wrote %s", path)
