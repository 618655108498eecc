"""A landmarker's scores on labelled faces, in total and per face, under a crop protocol."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from datamodules.faces import Face, FloatArray
from datamodules.loading import TestSet, face_loader
from datamodules.transforms import CROP_FACTOR, Square, StartBox, crop_square
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import FoundInImages, Inference, find_in_images
from lightning_modules.methods.base import SetErrors
from lightning_modules.metrics import interocular, landmark_errors

SubsetScores = dict[str, dict[str, float]]
"""By subset, ``nme``, ``fr@8``, ``auc@8`` in % and ``n``."""


@dataclass(frozen=True)
class Protocol:
    """The crop protocol: the box that each face is first cropped to, and how landmarks are found from there.

    Args:
        box: where the first crop comes from, see :func:`datamodules.transforms.crop_square`.
        loosen: how many times too large it is made, about its centre: what a detector's box may be.
        shift: how far it is then shifted, as a share of the box's longer side (as loosened), in a direction drawn for
            each face.
        seed: of those directions; that of face i depends on (seed, i) alone.
        inference: how landmarks are found.

    Raises:
        ValueError: a choice is out of its range; the message begins with its name.
    """

    box: StartBox = "annotated"
    loosen: float = 1.0
    shift: float = 0.0
    seed: int = 0
    inference: Inference = field(default_factory=Inference)

    def __post_init__(self) -> None:
        if self.box not in get_args(StartBox):
            raise ValueError(f"box: found {self.box!r}, expected one of {', '.join(get_args(StartBox))}.")
        if not 0.25 <= self.loosen <= 4:
            raise ValueError(f"loosen: found {self.loosen:g}, expected a factor from 0.25 to 4.")
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift: found {self.shift:g}, expected a share of the box's side, from 0 to below 1.")
        if self.seed < 0:
            raise ValueError(f"seed: found {self.seed}, expected 0 or more.")
        if self.box != "annotated" and (self.loosen, self.shift) != (1, 0):
            found = f"loosen={self.loosen:g} and shift={self.shift:g} with box={self.box}"
            raise ValueError(f"box: found {found}, expected box=annotated: only the annotated box is made loose.")

    def __str__(self) -> str:
        """In words, e.g. ``annotated box 1.3× too large and shifted by 0.1, one crop, mirror averaged``."""
        return self.in_words()

    def in_words(self, without_box: int = 0, faces: int = 0) -> str:
        """The same, and for how many of the faces that it was used on the whole image took the box's place.

        Args:
            without_box: number of faces without a given or detected box.
            faces: number of all.
        """
        box = "whole image" if self.box == "whole" else f"{self.box} box"
        if self.box in ("given", "detected") and without_box:
            box += f" (the whole image for {without_box} of {faces} faces)"
        loose = [f"{self.loosen:g}× too large"] if self.loosen != 1 else []
        loose += [f"shifted by {self.shift:g}"] if self.shift else []
        return f"{' '.join([box, ' and '.join(loose)]).strip()}, {self.inference}"

    def square(self, face: Face, index: int) -> Square:
        """The first crop of face ``index``.

        Raises:
            DataError: see :func:`datamodules.transforms.crop_square`.
        """
        square = crop_square(face, self.box)
        angle = np.random.default_rng([self.seed, index]).uniform(0, 2 * math.pi)
        reach = self.shift * self.loosen * square.side / CROP_FACTOR
        return Square(square.x + reach * math.cos(angle), square.y + reach * math.sin(angle), square.side * self.loosen)


AVERAGED: Final = Protocol(inference=Inference(mirror=True, scales=(0.9, 1.0, 1.1)))
"""The annotated box, and the mean over the crop and its mirror image at 0.9, 1 and 1.1 times the box."""
LOOSE: Final = Protocol(loosen=1.3, shift=0.1)
"""A box 1.3 times too large and off centre by a tenth of its side, as a detector's may be."""
LOOSE_CROPPED_AGAIN: Final = replace(LOOSE, inference=Inference(recrop=4))
"""That box, cropped again four times at most: twice to the landmarks found, then closer and wider."""


class FaceScore(NamedTuple):
    """One face's score.

    Attributes:
        path: its image.
        nme: in %.
        uncertainty: mean over the landmarks, in % of the annotated inter-ocular distance; NaN where there is none.
        crops: how often it was cropped.
    """

    path: str
    nme: float
    uncertainty: float
    crops: int


@dataclass
class Scores:
    """Scores of each subset, mean NME over all faces, and those of each face; in %.

    Attributes:
        errors: each landmark's distance from its label over the inter-ocular distance, shape ``(N, 68)``; in the order
            of ``per_face``, whose ``nme`` is its mean over the landmarks.
        found: the landmarks found, in the original images' pixels, shape ``(N, 68, 2)``, float64.
        labels: likewise, those of the labels.
        seconds: the time that cropping and the landmarker took, without decoding the images.
    """

    subsets: SubsetScores
    average_nme: float
    per_face: list[FaceScore]
    errors: Tensor
    found: Tensor
    labels: Tensor
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The scores in the form of ``metrics.json``."""
        return scores_dict(self.subsets, self.average_nme)


def scores_dict(subsets: SubsetScores, average_nme: float) -> dict[str, Any]:
    """``{"test": {subset: {"nme", "fr@8", "auc@8", "n"}}, "average_nme"}``; and ``failed``, where faces did."""
    test = {name: {**values, "n": int(values["n"])} for name, values in subsets.items()}
    for values in test.values():
        if failed := int(values.pop("failed", 0)):
            values["failed"] = failed
    return {"test": test, "average_nme": average_nme}


def score(
    landmarker: Landmarker,
    tests: Sequence[TestSet],
    batch_size: int = 32,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
    protocol: Protocol = Protocol(),
    tell: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> Scores:
    """Score a landmarker on test sets, in the original images' pixels.

    Args:
        landmarker: is moved to ``device``; its modules keep the modes they are in.
        tests: labelled faces and the subsets they count in.
        batch_size: faces at a time.
        num_workers: loader processes.
        device: where to compute.
        protocol: the first crop, and how landmarks are found from there.
        tell: log which faces failed, and which outweigh the others in a mean.
        progress: is given the number of faces that are done, after each batch.

    Raises:
        DataError: a face's box is empty.
    """
    landmarker = landmarker.to(device)
    subsets: SubsetScores = {}
    per_face: list[FaceScore] = []
    none = torch.empty(0, 68, 2, dtype=torch.float64)
    of_landmarks, pixels, labels = [none[..., 0]], [none], [none]
    seconds = 0.0
    for test in tests:
        # By this process alone: of a distributed run the others may not be here, or not yet be there.
        errors = SetErrors(test.subsets, sync=False).to(device)
        first = 0
        for faces in face_loader(test.faces, batch_size, num_workers):
            squares = [protocol.square(face, index) for index, face in enumerate(faces, first)]
            start = time.perf_counter()
            found = find_in_images(landmarker, [face.image for face in faces], squares, protocol.inference)
            seconds += time.perf_counter() - start
            truth = torch.from_numpy(np.stack([_labels(face) for face in faces])).to(found.pixels)
            errors.update(found.pixels, truth, torch.arange(first, first + len(faces)), [face.path for face in faces])
            of_landmarks.append(landmark_errors(found.pixels, truth).cpu())
            pixels.append(found.pixels.cpu())
            labels.append(truth.cpu())
            per_face += _face_scores(faces, found, truth, of_landmarks[-1])
            first += len(faces)
            progress(len(per_face))
        if tell:
            errors.warn()
        subsets |= {name: {k: float(v) for k, v in values.items()} for name, values in errors.compute().items()}
    average = sum(face.nme for face in per_face) / len(per_face) if per_face else float("nan")
    joined = [torch.cat(batches) for batches in (of_landmarks, pixels, labels)]
    return Scores(subsets, average, per_face, joined[0], joined[1], joined[2], seconds)


def _labels(face: Face) -> FloatArray:
    assert face.landmarks is not None, "test sets are labelled"
    return face.landmarks


def _face_scores(faces: Sequence[Face], found: FoundInImages, truth: Tensor, errors: Tensor) -> list[FaceScore]:
    # The error's own units: twice the uncertainty is as bad as twice the error.
    spread = 100 * found.uncertainty.mean(-1) / interocular(truth)
    figures = zip(errors.mean(-1).tolist(), spread.tolist(), found.crops.tolist(), strict=True)
    return [FaceScore(face.path, *values) for face, values in zip(faces, figures, strict=True)]
