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

MEAN = np.asarray(MEAN_FACE, dtype=np.float64)


def test_parts_cover_every_landmark_once() -> None:
    assert [i for part in PARTS.values() for i in part] == list(range(NUM_LANDMARKS))
    assert set(PARTS) > CLOSED_PARTS
    # And the flip permutation undoes itself.
    assert [FLIP_PERMUTATION[FLIP_PERMUTATION[i]] for i in range(NUM_LANDMARKS)] == list(range(NUM_LANDMARKS))


@pytest.mark.parametrize("part", PARTS)
def test_the_flip_permutation_maps_parts_to_mirrored_parts(part: str) -> None:
    mirrored = part.replace("left", "right") if "left" in part else part.replace("right", "left")
    assert sorted(FLIP_PERMUTATION[i] for i in PARTS[part]) == list(PARTS[mirrored])


def test_the_mean_face_nearly_equals_its_mirror_image() -> None:
    """Any wrong pair of the permutation would move a landmark of the (nearly symmetric) mean face by far more."""
    # Chin, nose bridge, nose tip and the middles of the lips, by the published chart of the 68 points.
    midline = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert [i for i in range(NUM_LANDMARKS) if FLIP_PERMUTATION[i] == i] == midline
    mirrored = np.stack([2 * MEAN[midline, 0].mean() - MEAN[:, 0], MEAN[:, 1]], axis=1)[list(FLIP_PERMUTATION)]
    assert np.linalg.norm(mirrored - MEAN, axis=1).max() < 0.02


def test_outer_eye_corners_are_the_outermost_points_of_the_eyes() -> None:
    left, right = OUTER_EYE_CORNERS
    eyes = [*PARTS["left_eye"], *PARTS["right_eye"]]
    assert min(eyes, key=lambda i: MEAN[i, 0]) == left == 36
    assert max(eyes, key=lambda i: MEAN[i, 0]) == right == 45


def test_interocular_distance_in_the_unit_of_the_landmarks() -> None:
    faces = np.zeros((2, NUM_LANDMARKS, 2))
    faces[0, 36], faces[0, 45] = (10.0, 20.0), (40.0, 60.0)
    faces[1, 36], faces[1, 45] = (0.0, 0.0), (0.0, 7.0)
    np.testing.assert_allclose(interocular_distance(faces), [50.0, 7.0])
