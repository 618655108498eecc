"""A model card's figures: measured, kept beside the weights as JSON, and written into the card from there."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from tabulate import tabulate

from datamodules.datasets import SyntheticDataModule
from datamodules.faces import FaceBatch, collate
from datamodules.loading import TestSet
from datamodules.synthetic import STYLES
from datamodules.transforms import FaceTransform
from experiments.errors import UsageError
from experiments.intervals import bootstrap_interval
from experiments.published_sets import columns
from experiments.scoring import AVERAGED, LOOSE, LOOSE_CROPPED_AGAIN, Protocol, score
from experiments.values.plain_json import as_json
from lightning_modules.coordinates import to_crop, to_image_pixels
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import find_landmarks
from lightning_modules.metrics import FAILURE, face_nme
from lightning_modules.weights import Provenance

_BEGIN: Final = "<!-- figures: written by `make card`, not by hand -->"
_END: Final = "<!-- end of figures -->"
_DRAWN: Final = 8
"""Drawn faces of each style."""
_EVERY: Final = 8
"""Every which landmark of a style's first drawn face is kept."""
_JAW: Final = slice(0, 17)
_TITLES: Final = {"300w_common": "300W common", "cariface": "caricatures", "artiface": "ArtiFace"}
"""What the card calls the published test sets."""


@dataclass(frozen=True)
class Figure:
    """Scores on one test set, one crop by the annotated box; errors in % of the inter-ocular distance.

    Attributes:
        n: number of faces.
        nme: mean error.
        interval: of ``nme``: 95 %, by the bootstrap over faces.
        fr8: share of faces whose error exceeds 8 %, in %.
        jaw: mean error of the jaw's 17 points.
        inner: of the other 51.
        averaged: ``nme`` of the mean over the crop and its mirror image at 0.9, 1 and 1.1 times the box.
        loose_box: ``nme`` with boxes 1.3 times as large, off centre by a tenth of their side.
        cropped_again: ``nme`` with those boxes, cropped again four times at most.
    """

    n: int
    nme: float
    interval: tuple[float, float]
    fr8: float
    jaw: float
    inner: float
    averaged: float
    loose_box: float
    cropped_again: float


@dataclass(frozen=True)
class Drawn:
    """What a landmarker finds on drawn faces: no result, but the same on every machine.

    Attributes:
        nme: by style.
        landmarks: by style, every eighth landmark of the first face, crop coordinates, shape ``(9, 2)``.
    """

    nme: dict[str, float]
    landmarks: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Figures:
    """All figures of a card: by the name of the test set, and of drawn faces."""

    sets: dict[str, Figure]
    drawn: Drawn


def real_figures(landmarker: Landmarker, root: str) -> dict[str, Figure]:
    """Figures on the three published data sets below ``root``, of whatever numbers of faces.

    Raises:
        DataError: a data set is missing or malformed, or 300W has no common test faces.
    """
    return {_TITLES[column.subset]: figure(landmarker, column.test) for column in columns(root, tuple(_TITLES))}


def figure(landmarker: Landmarker, faces: TestSet) -> Figure:
    """Figures on labelled faces."""
    plain, *others = (
        score(landmarker, [faces], protocol=how) for how in (Protocol(), AVERAGED, LOOSE, LOOSE_CROPPED_AGAIN)
    )
    errors, each = plain.errors, plain.errors.mean(1)
    averaged, loose, again = (other.average_nme for other in others)
    return Figure(
        n=len(each),
        nme=float(each.mean()),
        interval=bootstrap_interval(each.numpy()),
        fr8=100 * float((each > FAILURE).double().mean()),
        jaw=float(errors[:, _JAW].mean()),
        inner=float(errors[:, _JAW.stop :].mean()),
        averaged=averaged,
        loose_box=loose,
        cropped_again=again,
    )


def drawn_figures(landmarker: Landmarker) -> Drawn:
    """What a landmarker finds on drawn faces."""
    nme: dict[str, float] = {}
    landmarks: dict[str, list[list[float]]] = {}
    for style, crops in zip(STYLES, drawn_crops(landmarker.image_size), strict=True):
        assert crops.landmarks is not None, "drawn faces are labelled"
        found = find_landmarks(landmarker, crops.images, crops.matrices)
        target = to_image_pixels(crops.landmarks, crops.matrices, landmarker.image_size)
        nme[style] = float(face_nme(found.pixels, target).mean())
        landmarks[style] = to_crop(found.pixels, crops.matrices, landmarker.image_size)[0, ::_EVERY].tolist()
    return Drawn(nme, landmarks)


def drawn_crops(size: int) -> Iterator[FaceBatch]:
    """Crops of ``size`` pixels of eight drawn faces in each style, in the order of :data:`STYLES`."""
    for style in STYLES:
        faces = SyntheticDataModule(style, test_count=_DRAWN).test_faces()
        yield collate([FaceTransform(size)(faces[i], i) for i in range(len(faces))]).to("cpu")


def write_figures(figures: Figures, path: Path) -> None:
    """Keep figures as JSON, to five decimals."""
    path.write_text(as_json(_rounded(asdict(figures)), indent=1))


def read_figures(path: Path) -> Figures:
    """Figures that :func:`write_figures` kept.

    Raises:
        UsageError: there are none, or the file holds something else.
    """
    try:
        content = json.loads(path.read_text())
        sets = {
            name: Figure(**{**values, "interval": tuple(values["interval"])})
            for name, values in content["sets"].items()
        }
        return Figures(sets, Drawn(**content["drawn"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: no figures of a model card could be read ({error}). Make them with make card DATA=root."
        ) from error


def section(figures: Figures, provenance: Provenance, landmarker: Landmarker, size: int) -> str:
    """The card's part that is written from facts and figures, Markdown.

    Args:
        figures: to show.
        provenance: of the weights.
        landmarker: that they belong to.
        size: of their file, in bytes.
    """
    count = sum(parameter.numel() for parameter in landmarker.parameters())
    facts = {
        "trained on": provenance.trained_on,
        "terms": provenance.terms,
        "made by": f"`{provenance.command}` ({provenance.version})",
        "fingerprints of the training faces": provenance.data,
        "network": f"`{type(landmarker).__name__}`, crops of {landmarker.image_size} pixels, {count:,} parameters",
        "file": f"{size:,} bytes, float16",
    }
    head = (
        "",
        "faces",
        "NME",
        "95 % interval",
        "FR@8",
        "jaw",
        "other points",
        "averaged",
        "loose box",
        "cropped again",
    )
    rows = []
    for name, f in figures.sets.items():
        low, high = f.interval
        others = [f"{value:.2f}" for value in (f.jaw, f.inner, f.averaged, f.loose_box, f.cropped_again)]
        rows.append([name, f.n, f"{f.nme:.2f}", f"{low:.2f}–{high:.2f}", f"{f.fr8:.1f}", *others])
    table = tabulate(rows, head, tablefmt="github", disable_numparse=True)
    return "\n".join([*(f"- {name}: {text}" for name, text in facts.items()), "", table])


def with_section(card: str, text: str, path: Path) -> str:
    """The card with its figures' part replaced by ``text``.

    Raises:
        UsageError: the card, which is in ``path``, has no such part.
    """
    before, begin, rest = card.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UsageError(f"{path}: found no lines {_BEGIN!r} and {_END!r}, between which the figures go. Add them.")
    return f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}"


def new_card(name: str) -> str:
    """A card that has nothing but its name and a place for the figures."""
    return f"# {name}\n\n{_BEGIN}\n{_END}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in cast(Iterable[Any], value)] if isinstance(value, list | tuple) else value
