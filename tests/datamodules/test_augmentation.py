"""The geometry drawn is the one that albumentations applies; and parts are drawn independently of each other."""

import random

import albumentations as A
import numpy as np
import pytest

from datamodules.augmentation import Augmentation, Augmenter, Normal
from datamodules.resampling import apply_matrix
from tests.layouts import face_landmarks

STILL = {"colour": 0.0, "grey": 0.0, "blur": 0.0, "occlusion": 0.0}


@pytest.mark.parametrize("size", [64, 128])
def test_the_map_is_the_one_by_which_albumentations_moves_keypoints(size: int) -> None:
    """On a canvas half as large again, amid which the crop lies, with the same random generators."""
    how = Augmentation(**STILL)
    canvas, points = size * 3 // 2, face_landmarks(size).astype(float)
    moves = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-15, 15), scale=(0.85, 1.15), translate_percent=(-0.04, 0.04), p=1.0),
            A.CenterCrop(size, size),
        ],
        keypoint_params=A.KeypointParams(format="xy", remove_invisible=False),
    )
    augmenter, mirrored = Augmenter(how, size), set()
    for seed in range(12):
        rng, plain = np.random.default_rng(seed), random.Random(seed)
        for move in moves.transforms:  # not `moves`, which would draw for itself first
            move.set_random_state(rng, plain)
        expected = moves(image=np.zeros((canvas, canvas, 3), np.uint8), keypoints=points + size // 4)["keypoints"]
        matrix = augmenter.draw(seed).matrix
        np.testing.assert_allclose(apply_matrix(matrix, points), expected, atol=1e-4)
        mirrored.add(np.linalg.det(matrix[:, :2]) < 0)
    assert mirrored == {True, False}


def test_parts_are_drawn_independently() -> None:
    """A mirrored crop is no likelier to be grey, a grey one no likelier to be covered."""
    augmenter = Augmenter(Augmentation(flip=0.5, grey=0.5, occlusion=0.5, colour=0.0, blur=0.0), 16)
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (200, 40, 90)
    found = []
    for seed in range(400):
        drawn = augmenter.draw(seed)
        painted = drawn.paint(image)
        colours = np.unique(painted.reshape(-1, 3), axis=0)
        grey = not any(np.array_equal(colour, (200, 40, 90)) for colour in colours)
        found.append((np.linalg.det(drawn.matrix[:, :2]) < 0, grey, len(colours) > 1))
    shares = np.array(found, float)
    np.testing.assert_allclose(shares.mean(0), 0.5, atol=0.1)
    assert np.abs(np.corrcoef(shares.T)[np.triu_indices(3, 1)]).max() < 0.2


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(**STILL),
        Augmentation(rotation=60.0, scale=(0.6, 1.4), translation=0.2, **STILL),
        Augmentation(
            rotation=Normal(0, 15, 2), translation=Normal(0, 0.05, 1), crop_factor=Normal(1.2, 0.1, 1), **STILL
        ),
    ],
)
def test_no_crop_shows_more_or_finer_than_said(how: Augmentation) -> None:
    size = 40
    augmenter = Augmenter(how, size)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    reached, zoomed = 0.0, 0.0
    for seed in range(300):
        matrix = augmenter.draw(seed).matrix
        inverse = np.linalg.inv(matrix[:, :2])
        back = (corners - matrix[:, 2]) @ inverse.T
        reached = max(reached, 2 * float(np.abs(back - size / 2).max()) / size)
        zoomed = max(zoomed, float(np.linalg.norm(matrix[:, :2], 2)))
    assert 0.75 * augmenter.reach < reached <= augmenter.reach + 2 / size
    assert 0.9 * augmenter.zoom < zoomed <= augmenter.zoom + 1e-6
