"""Which faces of a test set are to be named beside its scores: those that failed, those that outweigh the others."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from lightning_modules.metrics import FAILED, face_nme, interocular, unfound

_SHARE: Final = 0.1
"""Of a mean: a face that carries more is named."""
_TIMES: Final = 3.0
"""But only if its NME is so many times the others' median: in a set of few faces each carries more than a tenth."""
_NARROW: Final = 0.5
"""Of the others' median: an inter-ocular distance, over the face's longer side, that is below is named as the cause."""
_NAMED: Final = 5


class StandingOut:
    """Remembers each face's error and the distance it was divided by; says afterwards which faces stand out."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._figures: list[Tensor] = []

    def add(self, paths: Sequence[str], predicted: Tensor, target: Tensor) -> None:
        """Add faces: their images, and landmarks in image pixels, shape ``(B, 68, 2)`` each."""
        self._paths += paths
        side = (target.amax(1) - target.amin(1)).amax(-1)
        figures = (face_nme(predicted, target), interocular(target), side, unfound(predicted, target))
        self._figures.append(torch.stack([figure.to(target.dtype) for figure in figures], dim=1))

    def clear(self) -> None:
        """Forget all faces."""
        self._paths, self._figures = [], []

    def remarks(self, name: str, places: Sequence[int] | None = None) -> Iterator[str]:
        """One line about the faces without a finite prediction, and one about each that carries much of the mean.

        Args:
            name: of the set or subset.
            places: of its faces, in the order in which they were added; None for all.
        """
        if not self._paths:
            return
        chosen = list(range(len(self._paths))) if places is None else list(places)
        paths = [self._paths[place] for place in chosen]
        nme, eyes, side, failed = torch.cat(self._figures).cpu().double()[chosen].unbind(1)
        if lost := [path for path, is_lost in zip(paths, failed.tolist(), strict=True) if is_lost]:
            yield (
                f"{name}: of {len(lost)} of {len(paths)} faces the error is not finite: the prediction is not, or the "
                f"outer eye corners coincide. Each counts as failed, with an NME of {FAILED:g} %: {_listed(lost)}"
            )
        for place in _heavy(nme):
            yield f"{name}: {paths[place]} carries {_weight(nme, place)}{_cause(eyes, side, place)}"


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")


def _heavy(nme: Tensor) -> list[int]:
    """Places of the faces that carry too much of the mean."""
    places: list[int] = (nme > _SHARE * nme.sum()).nonzero()[:, 0].tolist()
    return [place for place in places if len(nme) > 1 and nme[place] > _TIMES * _without(nme, place).median()]


def _without(values: Tensor, place: int) -> Tensor:
    return torch.cat([values[:place], values[place + 1 :]])


def _weight(nme: Tensor, place: int) -> str:
    return (
        f"{100 * nme[place] / nme.sum():.0f} % of the mean NME of {len(nme)} faces: its own is {nme[place]:.2f} %, the "
        f"mean of the others {_without(nme, place).mean():.2f} %"
    )


def _cause(eyes: Tensor, side: Tensor, place: int) -> str:
    shares = eyes / side
    usual = _without(shares, place).median()
    if not shares[place] < _NARROW * usual:
        return "."
    return (
        f". Its outer eye corners, whose distance errors are divided by, are {eyes[place]:.2f} pixels apart, "
        f"{shares[place]:.3f} of the face where {usual:.2f} is usual. Check its labels."
    )
