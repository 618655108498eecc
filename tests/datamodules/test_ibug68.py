import numpy as np
import pytest

from datamodules.ibug68 import (
    CLOSED_PARTS,
    FLIP_PERMUTATION,
    NUM_LANDMARKS,
    OUTER_EYE_CORNERS,
    PARTS,
    interocular_distance,
)
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from tests.layouts import face_landmarks

MIRRORED_PART = {
    "jaw": "jaw",
    "left_brow": "right_brow",
    "right_brow": "left_brow",
    "nose_bridge": "nose_bridge",
    "nostrils": "nostrils",
    "left_eye": "right_eye",
    "right_eye": "left_eye",
    "outer_lips": "outer_lips",
    "inner_lips": "inner_lips",
}
MEAN = np.asarray(MEAN_FACE, dtype=np.float64)


def test_parts_cover_every_landmark_once() -> None:
    assert [i for part in PARTS.values() for i in part] == list(range(NUM_LANDMARKS))
    assert set(PARTS) > CLOSED_PARTS


def test_the_flip_permutation_undoes_itself() -> None:
    assert sorted(FLIP_PERMUTATION) == list(range(NUM_LANDMARKS))
    assert [FLIP_PERMUTATION[FLIP_PERMUTATION[i]] for i in range(NUM_LANDMARKS)] == list(range(NUM_LANDMARKS))


@pytest.mark.parametrize("part", PARTS)
def test_the_flip_permutation_maps_parts_to_mirrored_parts(part: str) -> None:
    assert sorted(FLIP_PERMUTATION[i] for i in PARTS[part]) == list(PARTS[MIRRORED_PART[part]])


def test_only_landmarks_on_the_midline_stay_in_place() -> None:
    """Chin, nose bridge, nose tip and the middles of the lips, by the published chart of the 68 points."""
    fixed = [i for i in range(NUM_LANDMARKS) if FLIP_PERMUTATION[i] == i]
    assert fixed == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


@pytest.mark.parametrize("face", [MEAN, face_landmarks(1000, seed=3) / 1000], ids=["mean face", "drawn face"])
def test_a_mirrored_face_keeps_left_and_right(face: np.ndarray) -> None:
    mirrored = np.stack([1 - face[:, 0], face[:, 1]], axis=1)[list(FLIP_PERMUTATION)]
    for left, right in (("left_brow", "right_brow"), ("left_eye", "right_eye")):
        assert mirrored[list(PARTS[left]), 0].max() < mirrored[list(PARTS[right]), 0].min()
    # Lines are drawn in the same direction: the jaw and the lips from the viewer's left to right.
    for first, last in ((0, 16), (17, 21), (22, 26), (31, 35), (48, 54), (60, 64)):
        assert mirrored[first, 0] < mirrored[last, 0]
    # And upper points stay above lower ones: no pair was crossed within a part.
    for above, below in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 57), (50, 58), (52, 56), (62, 66)):
        assert mirrored[above, 1] < mirrored[below, 1]


def test_the_mean_face_all_but_equals_its_mirror_image() -> None:
    """Any wrong pair of the permutation would move a landmark of the (nearly symmetric) mean face by far more."""
    middle = MEAN[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0].mean()
    mirrored = np.stack([2 * middle - MEAN[:, 0], MEAN[:, 1]], axis=1)[list(FLIP_PERMUTATION)]
    assert np.linalg.norm(mirrored - MEAN, axis=1).max() < 0.02


def test_outer_eye_corners_are_the_outermost_points_of_the_eyes() -> None:
    left, right = OUTER_EYE_CORNERS
    eyes = [*PARTS["left_eye"], *PARTS["right_eye"]]
    assert min(eyes, key=lambda i: MEAN[i, 0]) == left == 36
    assert max(eyes, key=lambda i: MEAN[i, 0]) == right == 45
    assert FLIP_PERMUTATION[left] == right


def test_interocular_distance_in_the_unit_of_the_landmarks() -> None:
    faces = np.zeros((2, NUM_LANDMARKS, 2))
    faces[0, 36], faces[0, 45] = (10.0, 20.0), (40.0, 60.0)
    faces[1, 36], faces[1, 45] = (0.0, 0.0), (0.0, 7.0)
    np.testing.assert_allclose(interocular_distance(faces), [50.0, 7.0])
