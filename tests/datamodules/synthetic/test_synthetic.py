"""Drawn faces: reproducible, anatomically ordered, in distinct styles, and drawn where their landmarks say."""

import hashlib

import cv2
import numpy as np
import pytest

from datamodules.faces import ByteArray, DataError, FloatArray
from datamodules.ibug68 import CLOSED_PARTS, PARTS
from datamodules.synthetic import STYLES, Style, face_geometry
from datamodules.synthetic.dataset import SyntheticDataModule, SyntheticFaces

Drawn = dict[Style, list[tuple[ByteArray, FloatArray]]]

# Recorded; a change here means every seed draws other faces: count up DRAWING_VERSION with it.
LANDMARK_DIGESTS = {"photo": "11b223761cef9a88", "caricature": "16472e4740d43776", "painting": "e32b4039736335cb"}

# Median distances of two landmarks over the 689 labelled faces of 300W's full test set, in widths of the jaw.
RATIOS_300W = {(36, 45): 0.601, (39, 42): 0.256, (17, 26): 0.804, (31, 35): 0.191}
RATIOS_300W |= {(27, 30): 0.263, (48, 54): 0.387, (4, 12): 0.81, (27, 8): 0.825}


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return {style: [(f.image, f.landmarks) for f in SyntheticFaces(style, 60, seed=5)] for style in STYLES}


@pytest.mark.parametrize("style", STYLES)
def test_a_face_depends_on_style_seed_and_index_alone(style: Style) -> None:
    short, long = SyntheticFaces(style, 4, seed=3), SyntheticFaces(style, 9, seed=3)
    backwards = {i: long[i] for i in reversed(range(9))}
    for i in range(4):
        face = short[i]
        np.testing.assert_array_equal(face.image, backwards[i].image)
        np.testing.assert_array_equal(face.landmarks, backwards[i].landmarks)
        assert face.path == f"synthetic/{style}/3/{i}"
    assert not np.array_equal(short[0].image, short[1].image)
    assert not np.array_equal(short[0].image, SyntheticFaces(style, 1, seed=4)[0].image)


@pytest.mark.parametrize("style", STYLES)
def test_landmarks_are_those_of_every_other_machine(style: Style) -> None:
    shapes = np.stack([face_geometry(style, 11, i).landmarks for i in range(20)])
    np.testing.assert_array_equal(shapes, np.round(shapes * 64) / 64)
    assert hashlib.sha256((shapes * 64).astype("<i4").tobytes()).hexdigest()[:16] == LANDMARK_DIGESTS[style]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [96, 192])
def test_images_and_shapes_have_the_promised_form(style: Style, size: int) -> None:
    faces = SyntheticFaces(style, 3, seed=0, size=size, subsets=[("a",), ("a", "b"), ()])
    for face, shape, subsets in zip(faces, faces.shapes(), [("a",), ("a", "b"), ()], strict=True):
        assert (face.image.shape, face.image.dtype) == ((size, size, 3), np.uint8)
        assert face.landmarks is not None
        assert (face.landmarks.shape, face.landmarks.dtype) == ((68, 2), np.float32)
        np.testing.assert_array_equal(face.landmarks, shape)
        assert face.box is None
        assert face.subsets == subsets


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("difficulty", [1.0, 1.6])
def test_faces_lie_whole_in_the_image(style: Style, difficulty: float) -> None:
    shapes = np.stack(SyntheticFaces(style, 300, seed=1, difficulty=[difficulty] * 300).shapes())
    assert shapes.min() >= 0
    assert shapes.max() <= 191
    longer = np.ptp(shapes, axis=1).max(axis=1) / 192
    assert longer.min() > 0.54
    assert longer.max() < 0.81
    assert ((shapes.min(1) + shapes.max(1)) / 2).std(axis=0).min() > 4, "faces should not all sit in the middle"


@pytest.mark.parametrize("style", STYLES)
def test_anatomy_of_upright_faces(style: Style) -> None:
    for i in range(200):
        face = face_geometry(style, 2, i)
        turn_back = np.array([[np.cos(face.roll), -np.sin(face.roll)], [np.sin(face.roll), np.cos(face.roll)]])
        points = (face.landmarks - face.landmarks.mean(0)) @ turn_back
        x, y = points[:, 0], points[:, 1]
        assert (np.diff(x[6:11]) > 0).all(), "the jaw runs from the viewer's left to the right"
        assert x[:8].max() < x[8] < x[9:17].min()
        assert (np.diff(y[2:7]) > 0).all()
        assert (np.diff(y[10:15]) < 0).all()
        for part in ("left_brow", "right_brow", "nostrils"):
            assert (np.diff(x[list(PARTS[part])]) > 0).all(), part
        assert (np.diff(y[27:31]) > 0).all()
        assert x[36] < x[39] < x[42] < x[45], "the viewer's left eye is left of the right one"
        for part in CLOSED_PARTS:
            px, py = points[list(PARTS[part])].T
            assert (px * np.roll(py, -1) - np.roll(px, -1) * py).sum() > 0, f"{part} runs clockwise, above before below"
        assert y[17:27].mean() < y[36:48].mean() < y[33] < y[51] < y[62] < y[66] < y[57] < y[8]
        outline = np.concatenate([face.landmarks[:17], face.cranium[::-1]]).astype(np.float32)
        assert all(cv2.pointPolygonTest(outline, point.tolist(), False) > 0 for point in face.landmarks[17:])


def test_average_photo_has_human_proportions() -> None:
    shapes = np.stack(SyntheticFaces("photo", 400, seed=0).shapes())
    width = np.linalg.norm(shapes[:, 16] - shapes[:, 0], axis=1)
    for (a, b), expected in RATIOS_300W.items():
        ratio = np.median(np.linalg.norm(shapes[:, a] - shapes[:, b], axis=1) / width)
        assert ratio == pytest.approx(expected, abs=0.06), (a, b)


@pytest.mark.parametrize("style", STYLES)
def test_the_jaw_is_drawn_at_its_landmarks(drawn: Drawn, style: Style) -> None:
    """Along the contour's normals, photos change most, and drawn lines are darkest, at the landmarks."""
    offsets = np.arange(-8.0, 8.5, 0.5)
    profiles = np.mean([_jaw_profile(*face, offsets) for face in drawn[style]], axis=0)
    if style == "photo":
        steps = np.mean([np.abs(np.diff(_jaw_profile(*face, offsets), axis=1)) for face in drawn[style]], axis=(0, 1))
        assert abs(offsets[steps.argmax()] + 0.25) <= 1.0
        assert steps.max() > 2 * np.median(steps)
        return
    dark = profiles.mean(0).max() - profiles.mean(0)
    line = dark * (dark > 0.5 * dark.max())
    assert abs((line * offsets).sum() / line.sum()) < 0.4


def _jaw_profile(image: ByteArray, landmarks: FloatArray, offsets: np.ndarray) -> np.ndarray:
    """Grey values along the normals of the jaw's contour at landmarks 2–14, shape ``(13, len(offsets))``."""
    tangent = landmarks[3:16] - landmarks[1:14]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    points = (landmarks[2:15, None] + offsets[:, None] * normal[:, None]).astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.remap(grey, points[..., 0], points[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)


def test_styles_differ_in_colour_and_shape(drawn: Drawn) -> None:
    saturation, exaggeration = {}, {}
    for style, faces in drawn.items():
        saturation[style] = np.mean([cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].mean() for image, _ in faces])
        shapes = np.stack([(landmarks - landmarks.mean(0)) / landmarks.std() for _, landmarks in faces])
        exaggeration[style] = np.linalg.norm(shapes - shapes.mean(0), axis=2).mean()
    assert saturation["caricature"] > 1.4 * max(saturation["photo"], saturation["painting"])
    assert exaggeration["caricature"] > exaggeration["painting"] > 1.1 * exaggeration["photo"]


def test_train_and_test_faces_never_coincide() -> None:
    shapes = []
    for seed in (0, 1, 2):
        module = SyntheticDataModule("painting", train_count=30, test_count=30, seed=seed)
        shapes += module.train_faces().shapes() + module.test_faces().shapes()
    assert len({shape.tobytes() for shape in shapes}) == len(shapes)


def test_subsets_take_their_share_of_the_test_faces() -> None:
    shares = {"300w_full": (0.0, 1.0), "300w_common": (0.0, 0.8), "300w_challenge": (0.8, 1.0)}
    module = SyntheticDataModule(test_count=20, train_count=5, subsets=shares, hard_from=0.8)
    test = module.test_faces()
    assert test.subsets() == [("300w_full", "300w_common")] * 16 + [("300w_full", "300w_challenge")] * 4
    assert module.train_faces().subsets() == [()] * 5
    easy = SyntheticDataModule(test_count=20, train_count=5, name="own").test_faces()
    assert easy.subsets() == [("own",)] * 20
    same = [np.array_equal(a, b) for a, b in zip(test.shapes(), easy.shapes(), strict=True)]
    assert same == [True] * 16 + [False] * 4
    assert module.stand_in(7) is module


def test_fingerprint_tells_sets_apart() -> None:
    sets = [
        SyntheticFaces("photo", 3, 0),
        SyntheticFaces("painting", 3, 0),
        SyntheticFaces("photo", 4, 0),
        SyntheticFaces("photo", 3, 1),
        SyntheticFaces("photo", 3, 0, size=128),
        SyntheticFaces("photo", 3, 0, difficulty=[1.0, 1.0, 2.0]),
    ]
    assert len({faces.fingerprint() for faces in sets}) == len(sets)
    assert sets[0].fingerprint() == SyntheticFaces("photo", 3, 0).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"style": "Caricatures"}, "'Caricatures'.*Did you mean 'caricature'"),
        ({"seed": -1}, "seed=-1"),
        ({"size": 8}, "size=8"),
        ({"train_count": 0}, "train_count=0"),
        ({"test_count": -2}, "test_count=-2"),
        ({"hard_from": 1.5}, "hard_from"),
        ({"difficulty": 0.0}, "difficulty"),
        (
            {"style": "photo", "count": 3, "seed": 0, "subsets": [(), ()]},
            "2 entries in subsets, expected one per face, 3",
        ),
        ({"subsets": {}}, "no subsets"),
        ({"subsets": {"own": (0.5, 0.2)}}, "'own'"),
        ({"subsets": {"own": (0.0, 0.001)}}, "none of the 64"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], found: str) -> None:
    with pytest.raises(DataError, match=found):
        (SyntheticFaces if "count" in arguments else SyntheticDataModule)(**arguments)
