"""Labels that cannot be right: recognised on each face, and refused at once where they spoil a whole set.

All thresholds are far from what real faces show: on the 6,317 labelled faces at hand (photos, caricatures, paintings)
the sine of :func:`upright_sine` is at least 0.90, the eyes' length at most 0.45 of the distance between their outer
corners, no point lies at (0, 0) or (-1, -1), and no three points coincide.
"""

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np

from datamodules.faces import DataError, FloatArray
from datamodules.formats import shown
from datamodules.ibug68 import OUTER_EYE_CORNERS, PARTS, interocular_distance

_LEAST_SINE: Final = 0.5
_LONGEST_EYE: Final = 0.8
_LONGEST_MIRRORED_EYE: Final = 0.6
"""Of an eye, as a share of the distance between the outer corners; less where the points are also mirrored."""
_LEAST_INTEROCULAR: Final = 1.0
"""Pixels between the outer eye corners below which points cannot be a face."""
_COINCIDENT: Final = 3
_LARGEST_FRACTION: Final = 2.0
"""Greatest coordinate of labels that are fractions of the picture, from 0 to 1 or from -1 to 1, and a little beyond."""
_FEW: Final = 3
"""Faces from which on all of them lying in one corner is no accident."""


class Mistake(Enum):
    """A usual mistake in labels. The value is (what was found, what to do)."""

    FAR = (
        "landmarks far outside the picture",
        "Check that the landmark file belongs to this image (same size, not cropped or rescaled since), that x comes "
        "before y, and that .npy counts from 0 and .pts from 1.",
    )
    SENTINELS = (
        "points at (0, 0) or (-1, -1), which stand for points that were not annotated",
        "All 68 are needed: annotate them, or leave such faces out.",
    )
    FRACTIONS = (
        "coordinates that are fractions of the picture",
        "Multiply x by its width and y by its height (of -1…1, after adding 1 and halving), in pixels.",
    )
    COINCIDENT = (
        "three or more landmarks at one place",
        "Correct the landmark file: points that were not annotated may all have been given one place.",
    )
    TINY = (
        "outer eye corners (36 and 45) less than a pixel apart",
        "Correct the landmark file: all points may be equal.",
    )
    SWAPPED = ("columns in the order y, x", "Exchange them: array[:, ::-1].")
    UPWARDS = (
        "y counted from below (the mouth is above the eyes)",
        "Count y from the top: height - 1 - y; or turn the pictures upright.",
    )
    MIRRORED = (
        "left and right exchanged (landmark 36, the eye corner at the viewer's left, is at the right)",
        "Pictures were mirrored, or left is the face's own: reorder the landmarks, array[list(FLIP_PERMUTATION)] of "
        "datamodules.ibug68.",
    )
    SCRAMBLED = (
        "landmarks in an order that is not iBUG-68's",
        "Check the order (0-16 jaw, 36-47 eyes, 48-67 mouth); a (2, 68) array must be transposed, not reshaped.",
    )


OF_A_FACE: Final = frozenset({Mistake.SENTINELS, Mistake.COINCIDENT, Mistake.FAR, Mistake.TINY})
"""Those that single faces have, too; a face with another mistake shares it with its whole set, as a rule."""


class LabelError(DataError):
    """Labels of one face that cannot be right.

    Args:
        path: of its picture.
        mistake: which.
        detail: what was found in this face, in words, in the place of the mistake's own words.
    """

    def __init__(self, path: Path, mistake: Mistake, detail: str = "") -> None:
        self.path, self.mistake = path, mistake
        found, remedy = mistake.value
        expected = _EXPECTED_PLACES if mistake is Mistake.FAR else _EXPECTED
        super().__init__(f"{shown(path)}: found {detail or found}, expected {expected}. {remedy}")


_EXPECTED_PLACES: Final = "landmarks in or near the image"
_EXPECTED: Final = "68 landmarks of a face in pixels, x before y, y counted from the top"


def check_landmarks(path: Path, landmarks: FloatArray, width: int, height: int) -> None:
    """Refuse the labels of a face that cannot be right.

    Args:
        path: of its picture.
        landmarks: image pixels, shape ``(68, 2)``.
        width: of the picture, in pixels.
        height: likewise.

    Raises:
        LabelError: see :class:`Mistake`.
    """
    _check_places(path, landmarks, width, height)
    if mistake := _order(landmarks):
        raise LabelError(path, mistake)


def _check_places(path: Path, landmarks: FloatArray, width: int, height: int) -> None:
    border = max(width, height) / 2
    upper = np.array([width - 1, height - 1]) + border
    outside = np.flatnonzero(((landmarks < -border) | (landmarks > upper)).any(axis=1))
    if len(outside):
        x, y = landmarks[outside[0]]
        where = f"landmark {outside[0]} (of 0…67) at ({x:.1f}, {y:.1f}) in an image of {width}×{height} pixels"
        raise LabelError(path, Mistake.FAR, where)
    if np.abs(landmarks).max() <= _LARGEST_FRACTION and np.ptp(landmarks, axis=0).max() > 0:
        raise LabelError(path, Mistake.FRACTIONS)
    # A file of points that count from 1 holds (0, 0) as (-1, -1) here, and (-1, -1) as (-2, -2).
    places = np.flatnonzero((landmarks[:, 0] == landmarks[:, 1]) & np.isin(landmarks[:, 0], (0, -1, -2)))
    if 0 < len(places) < len(landmarks):
        named = ", ".join(map(str, places[:5])) + ", …" * (len(places) > 5)
        found = f"{len(places)} points at ({landmarks[places[0], 0]:.0f}, {landmarks[places[0], 1]:.0f}): {named}"
        raise LabelError(path, Mistake.SENTINELS, f"{found}; they stand for points that were not annotated")
    if (distance := float(interocular_distance(landmarks))) < _LEAST_INTEROCULAR:
        found = f"landmarks whose outer eye corners (36 and 45) are {distance:.2g} pixels apart"
        raise LabelError(path, Mistake.TINY, found)
    same, counts = np.unique(landmarks, axis=0, return_counts=True)
    if counts.max() >= _COINCIDENT:
        x, y = same[counts.argmax()]
        raise LabelError(path, Mistake.COINCIDENT, f"{counts.max()} landmarks at ({x:.1f}, {y:.1f})")


def upright_sine(landmarks: FloatArray) -> float:
    """Sine of the angle from (eye corner 36 → 45) to (eyes → mouth).

    It is about 1 on any face, however turned in its picture, and about -1 where the points are mirrored in any
    direction.

    Args:
        landmarks: any frame with y down, shape ``(68, 2)``; the outer eye corners do not coincide.
    """
    left, right = (landmarks[corner] for corner in OUTER_EYE_CORNERS)
    across, down = right - left, _middle(landmarks, "outer_lips", "inner_lips") - _middle(landmarks, *_EYES)
    lengths = np.linalg.norm(across) * np.linalg.norm(down)
    return float((across[0] * down[1] - across[1] * down[0]) / lengths) if lengths else 0.0


_EYES: Final = ("left_eye", "right_eye")


def _middle(landmarks: FloatArray, *parts: str) -> FloatArray:
    return np.asarray(landmarks[[place for part in parts for place in PARTS[part]]].mean(axis=0))


def _order(landmarks: FloatArray) -> Mistake | None:
    """Which mistake the order of points or columns shows."""
    sine = upright_sine(landmarks)
    longest = max(float(np.ptp(landmarks[PARTS[eye]], axis=0).max()) for eye in _EYES)
    most = _LONGEST_EYE if sine > 0 else _LONGEST_MIRRORED_EYE
    if abs(sine) < _LEAST_SINE or longest > most * float(interocular_distance(landmarks)):
        return Mistake.SCRAMBLED
    if sine > 0:
        return None
    left, right = (landmarks[corner] for corner in OUTER_EYE_CORNERS)
    across = np.abs(right - left)
    if across[1] > across[0]:
        return Mistake.SWAPPED
    return Mistake.MIRRORED if left[0] > right[0] else Mistake.UPWARDS


def refuse_whole_set(problems: Sequence[DataError], labelled: int, name: str, skip: bool) -> None:
    """Refuse a set in which at least half of the labelled faces, and two, have one mistake: it is the set's.

    Args:
        problems: of the set's faces.
        labelled: how many faces have labels.
        name: of the set, for the message.
        skip: whether faces with mistakes of their own are to be skipped.

    Raises:
        DataError: it names the mistake, how many have it, and the first.
    """
    errors = [problem for problem in problems if isinstance(problem, LabelError)]
    if not errors:
        return
    mistake, count = Counter(error.mistake for error in errors).most_common(1)[0]
    if count < 2 or 2 * count < labelled or (skip and mistake in OF_A_FACE):
        return
    found, remedy = mistake.value
    first = next(error for error in errors if error.mistake is mistake)
    raise DataError(
        f"{name + ': ' if name else ''}found {found}, in {count} of {labelled} labelled faces, expected {_EXPECTED}. "
        f"{remedy} The first: {first}"
    ) from first


def in_one_corner(landmarks: Sequence[FloatArray], sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether all of several faces lie in the upper left quarter of their pictures, as labels of a smaller copy do.

    Args:
        landmarks: of each, image pixels, shape ``(68, 2)``.
        sizes: width and height of the pictures.
    """
    inside = [(shape.max(axis=0) < np.array(size) / 2).all() for shape, size in zip(landmarks, sizes, strict=True)]
    return len(inside) >= _FEW and all(inside)
