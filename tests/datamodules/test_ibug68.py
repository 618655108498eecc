import numpy as np
import pytest

from datamodules.ibug68 import (
    CLOSED_PARTS,
    FLIP_PERMUTATION,
    FRONTAL_TURN,
    NUM_LANDMARKS,
    OUTER_EYE_CORNERS,
    PARTS,
    interocular_distance,
    sideways_turn,
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


def test_the_turn_to_the_side_of_a_head_in_three_dimensions() -> None:
    """Of one projected at known angles: it grows with the angle, alike to both sides, however the image is turned."""
    depth = np.zeros(NUM_LANDMARKS)
    depth[[0, 16, 36, 45, 30]] = [0.3, 0.3, 0.05, 0.05, -0.25]
    head = np.column_stack([(MEAN - MEAN[8]) * [1, 1], depth])
    head[:, 0] = (head[:, 0] - head[list(FLIP_PERMUTATION), 0]) / 2

    def seen(angle: float, roll: float = 0.0) -> np.ndarray:
        turn, tilt = np.radians(angle), np.radians(roll)
        x = head[:, 0] * np.cos(turn) - head[:, 2] * np.sin(turn)
        return (
            np.stack([x * np.cos(tilt) - head[:, 1] * np.sin(tilt), x * np.sin(tilt) + head[:, 1] * np.cos(tilt)], 1)
            * 80
        )

    turns = sideways_turn(np.stack([seen(angle) for angle in (0, 5, 15, 30)]))
    assert turns[0] == pytest.approx(0, abs=1e-2)
    assert (np.diff(turns) > 0.02).all()
    assert float(sideways_turn(seen(-15))) == pytest.approx(float(turns[2]), abs=2e-2)
    assert float(sideways_turn(seen(15, roll=40))) == pytest.approx(float(turns[2]), abs=1e-6)
    assert turns[1] < FRONTAL_TURN < turns[2]
    assert np.isinf(sideways_turn(np.zeros((NUM_LANDMARKS, 2))))
