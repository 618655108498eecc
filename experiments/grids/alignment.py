"""Gradient alignment: whether an image term's gradient leads predicted landmarks to the true ones, without training.

A term can only teach a landmarker what its gradient says. On labelled stylised faces that can be measured: photos are
warped onto each face by the landmarks that a source-only landmarker predicts there, and the descent direction is
compared with the way to the labels. The labels serve this diagnosis alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from datamodules.faces import FaceBatch, FaceSet, collate
from datamodules.transforms import FaceTransform
from experiments.checkpoints import load_weights, read_checkpoint
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.grid import Cell
from experiments.grids.tables import Entry, Table
from lightning_modules.warping import WarperObjective


@dataclass(frozen=True)
class Alignment:
    """What an image term says on N stylised faces, each with M photos warped onto it.

    Attributes:
        cosine: mean over faces of the cosine between the way to the labels and the term's descent direction, averaged
            over the face's photos, as a training run averages it. Chance is 0 ± 0.09 / √N (136 coordinates).
        faces_aligned: share of faces with a positive cosine.
        pairs_ranked: share of pairs whose term is lower at the labels than at the predictions.
        faces_ranked: the same of the mean over each face's photos.
    """

    cosine: float
    faces_aligned: float
    pairs_ranked: float
    faces_ranked: float


def gradient_alignment(
    objective: WarperObjective, photos: FaceBatch, stylised: FaceBatch, predicted: Tensor, photos_per_face: int = 8
) -> Alignment:
    """Measure an objective's image term on labelled stylised faces.

    Args:
        objective: its pairing plays no part.
        photos: labelled crops, M or more of them; each face gets ``photos_per_face`` that are drawn by a fixed seed.
        stylised: N labelled crops.
        predicted: a landmarker's landmarks on them, crop coordinates, shape ``(N, 68, 2)``.
        photos_per_face: M.

    Raises:
        ValueError: there are fewer than ``photos_per_face`` photos, or labels are missing.
    """
    if photos.landmarks is None or stylised.landmarks is None or len(photos) < photos_per_face:
        raise ValueError(f"found {len(photos)} photos; expected {photos_per_face} or more, and labels on both sets.")
    generator = torch.Generator().manual_seed(0)
    cosines, pairs, faces = [], [], []
    for image, label, guess in zip(stylised.images, stylised.landmarks, predicted, strict=True):
        chosen = torch.randperm(len(photos), generator=generator)[:photos_per_face]
        images, shapes = photos.images[chosen], photos.landmarks[chosen]
        face = image.expand_as(images)
        guesses = guess.expand_as(shapes).clone().requires_grad_()
        at_guess = objective(images, shapes, face, guesses).image
        (gradient,) = torch.autograd.grad(at_guess.sum(), guesses)
        with torch.no_grad():
            at_label = objective(images, shapes, face, label.expand_as(shapes)).image
        descent, way = -gradient.mean(0).flatten(), (label - guess).flatten()
        cosines.append(torch.cosine_similarity(descent, way, dim=0))
        pairs.append((at_label < at_guess).float().mean())
        faces.append((at_label.mean() < at_guess.mean()).float())
    cosine = torch.stack(cosines)
    return Alignment(
        cosine=float(cosine.mean()),
        faces_aligned=float((cosine > 0).float().mean()),
        pairs_ranked=float(torch.stack(pairs).mean()),
        faces_ranked=float(torch.stack(faces).mean()),
    )


def alignment_table(runner: Runner, cells: Sequence[Cell], subset: str) -> Table:
    """The alignment of each row's image term at the row's first cell, on a subset of the test sets.

    Raises:
        UsageError: the setting has no such subset.
    """
    first = {cell.row: cell for cell in reversed(cells)}
    lines: list[list[Entry]] = []
    for row in dict.fromkeys(cell.row for cell in cells):
        found = _alignment_at_start(runner, first[row], subset)
        shares = (found.faces_aligned, found.pairs_ranked, found.faces_ranked)
        lines.append([row, f"{found.cosine:+.3f}", *(f"{100 * share:.0f}" for share in shares)])
    head = ["", "cosine with the way to the labels", "faces aligned %", "pairs ranked %", "faces ranked %"]
    return Table(f"{runner.grid.name}: gradient alignment on {subset}", head, lines)


def _alignment_at_start(runner: Runner, cell: Cell, subset: str) -> Alignment:
    cli = runner.in_cell(cell)
    start = runner.plain(cell).provide_start()
    if start is None or not isinstance(getattr(cli.method, "warper", None), WarperObjective):
        raise UsageError(
            f"row {cell.row!r}: METHOD={cli.options.run.method} has no warper or no start; give --rows that have both."
        )
    load_weights(cli.method.landmarker, read_checkpoint(start), start)
    tests = {name: test.faces for test in cli.data.test_sets for name in test.subset_names}
    if subset not in tests:
        raise UsageError(f"{subset!r} is no subset of this setting. {nearest(subset, tests)}")
    stylised, photos = (plain_crops(faces, cli.method.image_size) for faces in (tests[subset], cli.data.source_faces))
    cli.method.eval()
    with torch.no_grad():
        predicted = cli.method(stylised.images)
    return gradient_alignment(cast(Any, cli.method).warper, photos, stylised, predicted, min(8, len(photos)))


def plain_crops(faces: FaceSet, size: int, count: int = 400) -> FaceBatch:
    """Plain crops of a face set, of at most ``count`` faces spread evenly over it."""
    chosen = range(0, len(faces), max(1, len(faces) // count))[:count]
    transform = FaceTransform(size)
    return collate([transform(faces[i], i) for i in chosen]).to("cpu")
