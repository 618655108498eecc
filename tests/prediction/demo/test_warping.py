"""A photo warped onto a drawing."""

import cv2
import numpy as np
import pytest

from datamodules.faces import ByteArray, FloatArray
from datamodules.synthetic import Style, draw_face
from prediction.demo.warping import warp_onto
from prediction.faces import PredictedFace


def drawn(style: Style, index: int, size: int = 256) -> tuple[ByteArray, PredictedFace]:
    image, geometry = draw_face(style, 0, index, size, 0.6)
    return image, found(geometry.landmarks)


def found(landmarks: FloatArray) -> PredictedFace:
    return PredictedFace(landmarks.astype(np.float64), np.full(68, np.nan), np.zeros(4), np.nan)


def test_a_photo_onto_itself_stays_as_it_is() -> None:
    image, face = drawn("photo", 5)
    warped = warp_onto(image, face, image, face)
    np.testing.assert_allclose(warped.warped.astype(int), warped.drawing.astype(int), atol=1)
    assert warped.folded == 0


def test_landmarks_of_the_photo_come_to_those_of_the_drawing() -> None:
    (_, photo), (drawing, face) = drawn("photo", 5, 300), drawn("caricature", 2)
    marked = np.zeros((300, 300, 3), np.uint8)
    cv2.circle(marked, photo.landmarks[30].round().astype(int).tolist(), 6, (255, 0, 0), -1)
    target = np.zeros_like(drawing)
    cv2.circle(target, face.landmarks[30].round().astype(int).tolist(), 6, (255, 0, 0), -1)
    warped = warp_onto(marked, photo, target, face)
    centres = [np.argwhere(image[..., 0] > 128).mean(0) for image in (warped.warped, warped.drawing)]
    assert np.linalg.norm(centres[0] - centres[1]) < 3


def test_folds_are_told() -> None:
    (image, photo), (_, face) = drawn("photo", 5), drawn("photo", 5)
    face.landmarks[0], face.landmarks[16] = face.landmarks[16].copy(), face.landmarks[0].copy()
    folded = warp_onto(image, photo, image, face).folded
    assert 0.01 < folded < 1
    assert warp_onto(image, photo, image, face, smoothing=1e3).folded < folded


@pytest.mark.parametrize("size", [64, 1000])
def test_all_pictures_are_squares_with_something_on_them(size: int) -> None:
    (photo, face), (drawing, other) = drawn("photo", 2, size), drawn("painting", 5)
    warped = warp_onto(photo, face, drawing, other)
    for image in (warped.warped, warped.drawing, warped.drawing_marked, warped.field):
        assert image.dtype == np.uint8
        assert image.shape[0] == image.shape[1]
        assert image.std() > 10
    red = (warped.drawing_marked[..., 0] > 240) & (warped.drawing_marked[..., 1:] < 90).all(-1)
    green = (warped.field[..., 1] > 215) & (warped.field[..., ::2] < 110).all(-1)
    assert red.any()
    assert green.any()
