"""What landmarkers find on labelled faces, kept face by face."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from datamodules.face_sets import ChosenFaces, JoinedFaces
from datamodules.faces import FaceSet
from datamodules.loading import TestSet
from experiments.scoring import Protocol, SubsetScores, score
from lightning_modules.landmarkers.base import Landmarker

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What a landmarker found on N labelled faces.

    Attributes:
        landmarker: its name.
        faces: the faces, in the order of the arrays.
        subsets: that each face counts in.
        paths: their images.
        found: landmarks found, in the images' pixels, shape ``(N, 68, 2)``.
        labels: likewise, the labels.
        errors: each landmark's distance from its label over the labels' inter-ocular distance, in %, ``(N, 68)``.
        scores: NME, FR@8 and AUC@8 of each subset.
    """

    landmarker: str
    faces: FaceSet
    subsets: Sequence[tuple[str, ...]]
    paths: Sequence[str]
    found: Array
    labels: Array
    errors: Array
    scores: SubsetScores

    @property
    def nme(self) -> Array:
        """Each face's, in %, shape ``(N,)``."""
        return np.asarray(self.errors.mean(1))

    @property
    def names(self) -> list[str]:
        """Each face's: its image's file without folder and suffix."""
        return [Path(path).stem for path in self.paths]

    def of(self, subset: str) -> "Measured":
        """What it found on the faces that count in a subset."""
        return self.at([i for i, names in enumerate(self.subsets) if subset in names])

    def at(self, places: Sequence[int]) -> "Measured":
        """What it found on some faces; the scores stay those of all."""
        chosen = list(places)
        return Measured(
            self.landmarker,
            ChosenFaces(self.faces, chosen),
            [self.subsets[place] for place in chosen],
            [self.paths[place] for place in chosen],
            self.found[chosen],
            self.labels[chosen],
            self.errors[chosen],
            self.scores,
        )


def measure(
    name: str,
    landmarker: Landmarker,
    tests: Sequence[TestSet],
    protocol: Protocol,
    device: torch.device | str = "cpu",
) -> Measured:
    """Have a landmarker find the landmarks of test sets.

    Args:
        name: what it is called.
        landmarker: is moved to ``device``.
        tests: labelled faces and the subsets they count in.
        protocol: the first crop, and how landmarks are found from there.
        device: where to compute.

    Raises:
        DataError: a face's box is empty.
    """
    scores = score(landmarker, tests, device=device, protocol=protocol)
    found, labels, errors = (tensor.double().numpy() for tensor in (scores.found, scores.labels, scores.errors))
    faces = JoinedFaces([test.faces for test in tests])
    subsets = [names for test in tests for names in test.subsets]
    paths = [face.path for face in scores.per_face]
    return Measured(name, faces, subsets, paths, found, labels, errors, scores.subsets)


def subset_names(measured: Sequence[Measured]) -> list[str]:
    """The subsets that were measured, in order of first appearance."""
    return list(dict.fromkeys(name for one in measured for name in one.scores))
