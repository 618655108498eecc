"""A landmarker's scores on labelled faces, in total and per face."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from datamodules.loading import TestSet, evaluation_loader
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import find_landmarks
from lightning_modules.methods.base import SetErrors
from lightning_modules.metrics import face_nme

SubsetScores = dict[str, dict[str, float]]
"""By subset, ``nme``, ``fr@8``, ``auc@8`` in % and ``n``."""


@dataclass
class Scores:
    """Scores of each subset, mean NME over all faces, and (path, NME) of each face; all in %."""

    subsets: SubsetScores
    average_nme: float
    per_face: list[tuple[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """The scores in the form of ``metrics.json``."""
        return scores_dict(self.subsets, self.average_nme)


def scores_dict(subsets: SubsetScores, average_nme: float) -> dict[str, Any]:
    """``{"test": {subset: {"nme", "fr@8", "auc@8", "n"}}, "average_nme"}``."""
    test = {name: {**values, "n": int(values["n"])} for name, values in subsets.items()}
    return {"test": test, "average_nme": average_nme}


def score(
    landmarker: Landmarker,
    tests: Sequence[TestSet],
    batch_size: int = 32,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
) -> Scores:
    """Score a landmarker on test sets, in the original images' pixels.

    Args:
        landmarker: is moved to ``device``; its modules keep the modes they are in.
        tests: labelled faces and the subsets they count in.
        batch_size: faces at a time.
        num_workers: loader processes.
        device: where to compute.
    """
    landmarker, size = landmarker.to(device), landmarker.image_size
    subsets: SubsetScores = {}
    per_face: list[tuple[str, float]] = []
    for test in tests:
        # By this process alone: of a distributed run the others may not be here, or not yet be there.
        errors = SetErrors(test.subsets, sync=False).to(device)
        for batch in evaluation_loader(test.faces, size, batch_size, num_workers, crop_factor=landmarker.crop_factor):
            batch = batch.to(device)
            assert batch.landmarks is not None, "test sets are labelled"
            predicted = find_landmarks(landmarker, batch.images, batch.matrices).pixels
            target = to_image_pixels(batch.landmarks, batch.matrices, size)
            errors.update(predicted, target, batch.indices)
            per_face += zip(batch.paths, face_nme(predicted, target).tolist(), strict=True)
        subsets |= {name: {k: float(v) for k, v in values.items()} for name, values in errors.compute().items()}
    average = sum(nme for _, nme in per_face) / len(per_face) if per_face else float("nan")
    return Scores(subsets, average, per_face)
