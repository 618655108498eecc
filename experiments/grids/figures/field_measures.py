"""What is measured of warping fields between pairs of faces."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.bench.measuring import seconds
from experiments.grids.tables import Entry, Stat, Table
from lightning_modules.metrics import face_nme
from lightning_modules.warping import (
    FieldFitter,
    GradientNCC,
    face_region_mask,
    folding,
    inside_photo,
    jacobian_determinant,
    warp_image,
)
from lightning_modules.warping.fields.inverse import carried

log = logging.getLogger(__name__)

HEAD = (
    "transfer NME %",
    "gradient correlation in the face",
    "folded %",
    "sd of log Jacobian in the face",
    "ms / pair",
)


@dataclass(frozen=True)
class FacePairs:
    """Photos and stylised faces, paired in order.

    Attributes:
        photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
        photo_labels: crop coordinates, shape ``(B, 68, 2)``.
        stylised: as the photos.
        labels: of the stylised faces, crop coordinates; what is measured against.
        predicted: what a landmarker finds on them: what fields are fitted to.
    """

    photos: Tensor
    photo_labels: Tensor
    stylised: Tensor
    labels: Tensor
    predicted: Tensor

    def __len__(self) -> int:
        return len(self.photos)


@dataclass(frozen=True)
class FieldMeasures:
    """Of one kind of field, each of shape ``(B,)`` but the last.

    Attributes:
        transfer: the photo's labels, carried to the stylised face, against its labels; NME in %.
        correlation: of the Sobel images of the warped photo and the stylised face, within the hull of the labels and
            where the photo has pixels; 1 is best.
        folded: share of the crop where the field folds over, in %.
        spread: standard deviation of the logarithm of the Jacobian determinant within that hull, folds aside; 0 for a
            similarity.
        milliseconds: to fit, evaluate and warp, for one pair of a batch of all.
        warped: the photos, shape ``(B, 3, S, S)``.
        grid: the fields, shape ``(B, S, S, 2)``.
    """

    transfer: Tensor
    correlation: Tensor
    folded: Tensor
    spread: Tensor
    milliseconds: float
    warped: Tensor
    grid: Tensor

    def entries(self) -> list[Entry]:
        """As :data:`HEAD` says; means and standard deviations over pairs."""
        columns = ((self.transfer, "2f"), (self.correlation, "3f"), (self.folded, "2f"), (self.spread, "3f"))
        stats: list[Entry] = [Stat.of(values.tolist(), digits) for values, digits in columns]
        return [*stats, f"{self.milliseconds:.1f}"]


@torch.no_grad()
def measure_field(fitter: FieldFitter, pairs: FacePairs, use_labels: bool = False, repeats: int = 2) -> FieldMeasures:
    """Fit fields to pairs and measure them.

    Args:
        fitter: of the fields.
        pairs: of faces.
        use_labels: fit to the stylised faces' labels in place of what was predicted: the most that these landmarks can
            do.
        repeats: of the timing; the best one counts.
    """
    size = pairs.photos.shape[-1]
    landmarks = pairs.labels if use_labels else pairs.predicted

    def warp() -> Tensor:
        return fitter.fit(pairs.photo_labels, landmarks, pairs.photos, pairs.stylised).warp(pairs.photos)

    taken = min(seconds(warp, pairs.photos.device).wall for _ in range(repeats))
    field = fitter.fit(pairs.photo_labels, landmarks, pairs.photos, pairs.stylised)
    grid = field.grid(size)
    warped = warp_image(pairs.photos, grid)
    face = face_region_mask(pairs.labels, size)
    return FieldMeasures(
        transfer=face_nme(carried(field, pairs.photo_labels), pairs.labels),
        correlation=1 - GradientNCC()(warped, pairs.stylised, face * inside_photo(grid)),
        folded=100 * folding(grid),
        spread=log_jacobian_spread(grid, face),
        milliseconds=1000 * taken / len(pairs),
        warped=warped,
        grid=grid,
    )


def log_jacobian_spread(grid: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of the logarithm of a field's Jacobian determinant, where it is positive.

    Args:
        grid: shape ``(B, S, S, 2)``.
        mask: where to look, shape ``(B, 1, S, S)``; above 0 counts.

    Returns:
        Shape ``(B,)``; 0 where there are not two cells to look at.
    """
    determinant = jacobian_determinant(grid)
    inside = (mask[:, 0, :-1, :-1] > 0) & (determinant > 0)
    logarithm = torch.where(inside, determinant, 1.0).log()
    count = inside.sum(dim=(1, 2)).clamp_min(1)
    mean = (logarithm * inside).sum(dim=(1, 2)) / count
    return (((logarithm - mean[:, None, None]).square() * inside).sum(dim=(1, 2)) / count).sqrt()


def measures_table(title: str, names: Sequence[str], measures: Sequence[FieldMeasures | None]) -> Table:
    """A row for each field; one that could not be measured is shown as missing."""
    rows: list[list[Entry]] = [
        [name, *(found.entries() if found else [None] * len(HEAD))] for name, found in zip(names, measures, strict=True)
    ]
    return Table(title, ["field", *HEAD], rows)
