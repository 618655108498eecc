"""Faces and landmarks that were found on them, made up."""

import numpy as np

from datamodules.faces import Face, FaceSet, FloatArray
from experiments.analysis.measured import Array, Measured
from tests.layouts import face_landmarks

SIZE = 96


class PlainFaces(FaceSet):
    """Grey images with the landmarks of a drawn face, each moved and stretched."""

    def __init__(self, count: int, subsets: list[tuple[str, ...]]) -> None:
        self._subsets, base = subsets, face_landmarks(SIZE)
        self._shapes = [(base * (1 - 0.04 * i) + i).astype(np.float32) for i in range(count)]

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def has_landmarks(self) -> bool:
        return True

    def subsets(self) -> list[tuple[str, ...]]:
        return self._subsets

    def shapes(self) -> list[FloatArray]:
        return self._shapes

    def fingerprint(self) -> str:
        return "plain"

    def face(self, index: int) -> Face:
        image = np.full((SIZE, SIZE, 3), 90, np.uint8)
        return Face(image, f"album/face{index}.png", self._shapes[index], subsets=self._subsets[index])


def made_up(name: str = "ours", found: Array | None = None, count: int = 5, worse: float = 1.0) -> Measured:
    """What a landmarker that errs by Gaussian noise found; even faces count in ``even``, all in ``every``."""
    subsets = [("every", "even") if i % 2 == 0 else ("every",) for i in range(count)]
    faces = PlainFaces(count, subsets)
    labels = np.stack(faces.shapes()).astype(np.float64)
    noise = np.random.default_rng(0).normal(size=labels.shape) * np.linspace(1, 3, count)[:, None, None] * worse
    found = labels + noise if found is None else found
    eyes = np.hypot(*(labels[:, 36] - labels[:, 45]).T)
    errors = 100 * np.hypot(*np.moveaxis(found - labels, 2, 0)) / eyes[:, None]
    scores = {"every": scores_of(errors), "even": scores_of(errors[::2])}
    paths = [face.path for face in faces]
    return Measured(name, faces, subsets, paths, found, labels, errors, scores)


def scores_of(errors: Array) -> dict[str, float]:
    """The metric's definition, once more."""
    nme = errors.mean(1)
    auc = 100 * np.maximum(0, 1 - nme / 8).mean()
    return {"nme": float(nme.mean()), "fr@8": float(100 * (nme > 8).mean()), "auc@8": float(auc), "n": len(nme)}
