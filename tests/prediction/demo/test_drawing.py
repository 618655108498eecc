"""Landmarks drawn on a picture, in the colours of their uncertainty."""

import numpy as np
import pytest

from datamodules.synthetic import face_geometry
from prediction.demo.drawing import COLOURS, DOUBTFUL, colours_of, draw_doubts, relative_uncertainty
from prediction.faces import PredictedFace


def face(size: int, uncertainty: float = np.nan, shift: float = 0.0) -> PredictedFace:
    landmarks = face_geometry("photo", 0, 5, size, 0.6).landmarks.astype(np.float64) + shift
    return PredictedFace(landmarks, np.full(68, uncertainty), np.array([0.0, 0.0, size, size]), 0.9)


def test_uncertainty_is_told_in_shares_of_the_eyes_distance() -> None:
    found = face(200, 3.0)
    eyes = np.linalg.norm(found.landmarks[36] - found.landmarks[45])
    np.testing.assert_allclose(relative_uncertainty(found), 3.0 / eyes)


def test_colours_go_from_sure_to_doubtful() -> None:
    colours = colours_of(np.array([0.0, DOUBTFUL / 2, DOUBTFUL, 10.0, np.nan]))
    assert colours.tolist() == [list(COLOURS[0]), list(COLOURS[1]), list(COLOURS[2]), list(COLOURS[2]), [255] * 3]
    between = colours_of(np.array([DOUBTFUL / 4]))[0]
    np.testing.assert_allclose(between, np.mean(COLOURS[:2], axis=0), atol=1)


@pytest.mark.parametrize(("size", "drawn"), [(96, 480), (600, 600), (1920, 960)])
def test_points_lie_where_they_are_at_any_size(size: int, drawn: int) -> None:
    found = face(size, 1e-9)
    image = draw_doubts(np.zeros((size, size, 3), np.uint8), [found])
    assert image.shape == (drawn, drawn, 3)
    x, y = ((found.landmarks + 0.5) * drawn / size - 0.5).round().astype(int).T
    np.testing.assert_array_equal(image[y, x], np.broadcast_to(COLOURS[0], (68, 3)))


def test_the_picture_itself_is_not_changed() -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    assert draw_doubts(image, [face(600)]).any()
    assert not image.any()


def test_several_faces_have_numbers() -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    one, two = draw_doubts(image, [face(300)]), draw_doubts(image, [face(300), face(300, shift=290)])
    assert (two[:300, :300] != one[:300, :300]).any(), "a box and a 1, which a single face does not have"


def test_landmarks_far_outside_do_no_harm() -> None:
    lost = face(200)
    lost.landmarks[3] = (1e9, -1e9)
    lost.landmarks[5] = np.nan
    assert draw_doubts(np.zeros((200, 300, 3), np.uint8), [lost, lost]).shape == (320, 480, 3)
