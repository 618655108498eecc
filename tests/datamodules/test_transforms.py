"""Geometry is measured on pixels: a blob is drawn at a landmark, and must be found where the transform says it went."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.faces import ByteArray, DataError, Face, FaceSample, FloatArray
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.synthetic import draw_face
from datamodules.transforms import Augmentation, FaceTransform, Normal, apply_matrix, crop_matrix, crop_shape
from tests.layouts import face_landmarks

STILL = Augmentation(0.0, 0.0, (1.0, 1.0), 0.0, occlusion=0.0, colour=0.0, grey=0.0, blur=0.0)
"""An augmentation with every part switched off."""

GEOMETRY = {
    "plain": None,
    "nothing": STILL,
    "flip": replace(STILL, flip=1.0),
    "rotation": replace(STILL, rotation=30.0),
    "scale": replace(STILL, scale=(0.7, 1.3)),
    "translation": replace(STILL, translation=0.08),
    "placed": replace(STILL, crop_factor=Normal(1.2, 0.05, 1.0), rotation=Normal(0, 15, 2), translation=0.05, flip=0.5),
    "all": replace(Augmentation(flip=0.5), occlusion=0.0, colour=0.0, grey=0.0, blur=0.0),
}


def blob(height: int, width: int, centre: FloatArray, sigma: float) -> ByteArray:
    y, x = np.mgrid[:height, :width]
    bell = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return np.repeat((255 * bell).round().astype(np.uint8)[:, :, None], 3, axis=2)


def centroid(sample: FaceSample) -> np.ndarray:
    """Where the blob lies in the crop, in pixels, from its brightness alone."""
    image = sample.pixels.double().sum(0).numpy()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * x).sum(), (image * y).sum()]) / image.sum()


def face() -> Face:
    image, geometry = draw_face("photo", 1, 0, 160)
    return Face(image, "drawn", geometry.landmarks)


def crop_by_hand(points: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The crop rule, written out: side 1.2 × the longer side, the box's centre to the crop's centre."""
    x0, y0, x1, y1 = box.tolist()
    side = 1.2 * max(x1 - x0, y1 - y0)
    left, top = (x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - side / 2
    return (points - np.array([left, top])) / side * size


class TestCrop:
    @pytest.mark.parametrize("size", [64, 256])
    @pytest.mark.parametrize("given", [None, np.array([0, 0, 9, 9], np.float32)])
    def test_labelled_faces_are_cropped_around_their_landmarks(self, size: int, given: FloatArray | None) -> None:
        drawn = replace(face(), box=given)
        box = np.concatenate([drawn.landmarks.min(0), drawn.landmarks.max(0)])
        expected = crop_by_hand(drawn.landmarks, box, size)
        sample = FaceTransform(size)(drawn, index=7)
        assert sample.pixels.shape == (3, size, size)
        np.testing.assert_allclose(sample.landmarks.numpy() * size, expected, atol=1e-3)
        np.testing.assert_allclose(crop_shape(drawn.landmarks) * size, expected, atol=1e-3)
        assert (sample.index, sample.path, sample.flipped) == (7, "drawn", False)

    def test_a_given_box_takes_the_place_of_missing_landmarks(self) -> None:
        box = np.array([20, 30, 100, 90], np.float32)
        unlabelled = replace(face(), landmarks=None, box=box)
        points = np.array([[20.0, 30.0], [100.0, 90.0], [60.0, 60.0]])
        np.testing.assert_allclose(apply_matrix(crop_matrix(unlabelled, 96), points), crop_by_hand(points, box, 96))
        assert FaceTransform(96)(unlabelled).landmarks is None

    @pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (81, 81)])
    def test_without_landmarks_and_box_the_crop_is_the_whole_image(self, height: int, width: int) -> None:
        white = Face(np.full((height, width, 3), 255, np.uint8), "white")
        size = max(height, width)
        image = FaceTransform(size)(white).pixels[0].numpy() / 255
        # At its own scale every pixel is there, in the middle, with black above and below (or at the sides).
        assert image.sum() == pytest.approx(height * width, abs=size)
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert abs((rows[0] + rows[-1]) / 2 - size / 2) <= 0.5
        assert abs((columns[0] + columns[-1]) / 2 - size / 2) <= 0.5

    def test_an_empty_box_is_refused_by_name(self) -> None:
        empty = Face(np.zeros((9, 9, 3), np.uint8), "folder/empty.jpg", box=np.array([5, 5, 5, 5], np.float32))
        with pytest.raises(DataError, match=r"folder/empty\.jpg.*x0 < x1"):
            FaceTransform(32)(empty)


class TestLabelsFollowPixels:
    @pytest.mark.parametrize("name", GEOMETRY)
    def test_a_blob_at_a_landmark_is_found_at_the_label(self, name: str) -> None:
        """And where the matrix sends the file's landmark."""
        size, (height, width) = 192, (240, 260)
        points = (face_landmarks(160, 4) + 50).astype(np.float32)
        transform = FaceTransform(size, GEOMETRY[name])
        flipped = set()
        for place in range(27, 68, 5):  # the inner face, which stays in the crop with all of its blob
            marked = Face(blob(height, width, points[place], 2.0), "blob", points)
            sample = transform(marked, 0, seed=100 + place)
            flipped.add(sample.flipped)
            label = FLIP_PERMUTATION[place] if sample.flipped else place
            np.testing.assert_allclose(centroid(sample), sample.landmarks[label].numpy() * size, atol=0.05)
            by_matrix = apply_matrix(
                sample.matrix.numpy(), points[list(FLIP_PERMUTATION)] if sample.flipped else points
            )
            np.testing.assert_allclose(sample.landmarks.numpy() * size, by_matrix, atol=2e-3)
        assert flipped == {"all": {True, False}, "placed": {True, False}, "flip": {True}}.get(name, {False})

    def test_a_mirrored_face_keeps_its_left_eye_left(self) -> None:
        plain, sample = FaceTransform(128)(face()), FaceTransform(128, GEOMETRY["flip"])(face())
        assert sample.flipped
        assert not torch.equal(sample.pixels, plain.pixels)
        assert sample.landmarks[36, 0] < sample.landmarks[45, 0]
        torch.testing.assert_close(*(one.landmarks[45, 0] - one.landmarks[36, 0] for one in (plain, sample)))

    @pytest.mark.parametrize("large", [1000, 1777])
    def test_large_images_shrink_without_a_shift(self, large: int) -> None:
        points = face_landmarks(large, 2)
        for place in (8, 36, 45, 57):
            marked = Face(blob(large, large, points[place], large / 60), "large", points)
            sample = FaceTransform(64)(marked)
            np.testing.assert_allclose(centroid(sample), sample.landmarks[place].numpy() * 64, atol=0.05)

    def test_large_images_shrink_without_aliasing(self) -> None:
        """Lines a pixel apart, shrunk twelvefold, must become grey; point sampling would leave lines or a beat."""
        lines = np.zeros((960, 960, 3), np.uint8)
        lines[:, ::2] = 255
        inside = FaceTransform(80)(Face(lines, "lines")).pixels[:, 2:-2, 2:-2] / 255
        assert float(inside.std()) < 0.01
        assert float(inside.mean()) == pytest.approx(0.5, abs=0.01)

    def test_turning_a_face_brings_its_real_surroundings_into_view(self) -> None:
        """A face amid a large white image: no black corner may appear at the crop's rim."""
        white = Face(np.full((400, 400, 3), 255, np.uint8), "white", face_landmarks(100, 1) + 150)
        for seed in range(10):
            assert float(FaceTransform(64, GEOMETRY["all"])(white, seed=seed).pixels.min()) == 255


class TestAugmentation:
    def test_the_seed_alone_decides(self) -> None:
        drawn, transform = face(), FaceTransform(96, Augmentation())
        first, other = transform(drawn, seed=5), transform(drawn, seed=6)
        # Neither what came between, nor the global generators, nor another instance makes a difference.
        np.random.seed(1)  # noqa: NPY002 - the generator under test
        for repeated in (transform(drawn, seed=5), FaceTransform(96, Augmentation())(drawn, seed=5)):
            assert torch.equal(first.pixels, repeated.pixels)
            assert torch.equal(first.landmarks, repeated.landmarks)
            assert torch.equal(first.matrix, repeated.matrix)
        assert not torch.equal(first.pixels, other.pixels)
        assert not torch.equal(first.matrix, other.matrix)

    def test_the_ranges_are_used_and_kept(self) -> None:
        how = replace(STILL, flip=0.5, rotation=15.0, scale=(0.85, 1.15))
        samples = [FaceTransform(64, how)(face(), seed=seed) for seed in range(60)]
        assert 15 < sum(sample.flipped for sample in samples) < 45
        plain = float(FaceTransform(64)(face()).matrix[0, 0])
        linear = np.stack([sample.matrix[:, :2].numpy() / plain for sample in samples])
        # The map is mirror, then width and height, then turn: the second column is height × (-sin, cos).
        turns = np.degrees(np.arctan2(-linear[:, 0, 1], linear[:, 1, 1]))
        assert -15.01 < turns.min() < -10
        assert 10 < turns.max() < 15.01
        for sizes in np.linalg.norm(linear, axis=1).T:
            assert 0.849 < sizes.min() < 0.9
            assert 1.1 < sizes.max() < 1.151

    def test_the_shift_is_a_share_of_the_crop(self) -> None:
        transform = FaceTransform(64, replace(STILL, translation=0.1))
        plain = FaceTransform(64)(face()).landmarks
        shifts = torch.stack([(transform(face(), seed=k).landmarks - plain).mean(0) for k in range(60)]).abs()
        assert (shifts.amax(0) < 0.1 + 1 / 64).all()  # shifts are whole pixels
        assert (shifts.amax(0) > 0.08).all()

    @pytest.mark.parametrize("part", ["occlusion", "colour", "grey", "blur"])
    def test_each_part_changes_pixels_and_only_pixels(self, part: str) -> None:
        drawn = face()
        still, changed = (FaceTransform(96, how)(drawn, seed=3) for how in (STILL, replace(STILL, **{part: 1.0})))
        assert not torch.equal(changed.pixels, still.pixels)
        assert torch.equal(changed.landmarks, still.landmarks)
        assert torch.equal(changed.matrix, still.matrix)

    def test_all_off_is_the_plain_crop(self) -> None:
        still, plain = FaceTransform(96, STILL)(face(), seed=3), FaceTransform(96)(face(), seed=4)
        torch.testing.assert_close(still.matrix, plain.matrix, atol=1e-3, rtol=0)
        assert (still.pixels.int() - plain.pixels.int()).abs().max() <= 1


PUBLISHED = Augmentation(
    flip=0.5,
    rotation=Normal(0.0, 15.0, 2.0),
    translation=Normal(0.0, 0.05, 1.0),
    occlusion=0.5,
    colour=0.0,
    grey=0.2,
    blur=0.0,
    crop_factor=Normal(1.2, 0.05, 1.0),
    occluder=Normal(0.2, 0.08, 2.5),
)
"""As configs/profiles/paper.yaml has it."""


def normal_shares(edges: list[float]) -> list[float]:
    """How much of a standard normal distribution lies below each edge."""
    return [0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges]


@pytest.fixture(scope="module")
def placed() -> dict[str, np.ndarray]:
    """What crops of one face differ in from its plain crop: side, turn in degrees, shift over the side, mirror."""
    transform, drawn = FaceTransform(32, replace(PUBLISHED, grey=0.0, occlusion=0.0)), face()
    plain = FaceTransform(32)(drawn).matrix.numpy().astype(float)
    matrices = np.stack([transform(drawn, seed=k).matrix.numpy().astype(float) for k in range(400)])
    linear = matrices[:, :, :2] / plain[0, 0]
    mirror = np.linalg.det(linear) < 0
    linear[mirror, 0] *= -1
    middle = (drawn.landmarks.min(0) + drawn.landmarks.max(0)) / 2
    shift = (matrices[:, :, :2] @ middle + matrices[:, :, 2] - 16) / 32
    return {
        "linear": linear,
        "factor": 1.2 / np.sqrt(np.linalg.det(linear)),
        "turn": np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0])),
        "shift": shift[~mirror],
        "mirror": mirror,
    }


class TestPublishedAugmentation:
    def test_one_scale_for_both_axes(self, placed: dict[str, np.ndarray]) -> None:
        """Every map is a turn times a number: its columns are orthogonal and of equal length."""
        squares = np.einsum("kij,kil->kjl", placed["linear"], placed["linear"])
        np.testing.assert_allclose(squares[:, 0, 1], 0, atol=1e-5)
        np.testing.assert_allclose(squares[:, 0, 0], squares[:, 1, 1], rtol=1e-5)

    @pytest.mark.parametrize(
        ("name", "mean", "deviation", "clip"),
        [("factor", 1.2, 0.05, 1.0), ("turn", 0.0, 15.0, 2.0), ("shift", 0.0, 0.05, 1.0)],
    )
    def test_normal_and_clipped(
        self, placed: dict[str, np.ndarray], name: str, mean: float, deviation: float, clip: float
    ) -> None:
        values = (placed[name].ravel() - mean) / deviation
        assert np.abs(values).max() == pytest.approx(clip, abs=1e-3)
        # What lies beyond is at the ends, not cut out; between them the distribution is the normal one.
        ends = [float((values < -clip + 1e-3).mean()), float((values > clip - 1e-3).mean())]
        assert ends == pytest.approx([normal_shares([-clip])[0]] * 2, abs=0.07)
        edges = [share * clip for share in (-0.75, -0.4, 0.0, 0.4, 0.75)]
        assert [float((values < edge).mean()) for edge in edges] == pytest.approx(normal_shares(edges), abs=0.07)

    def test_half_are_mirrored(self, placed: dict[str, np.ndarray]) -> None:
        assert 0.42 < placed["mirror"].mean() < 0.58

    def test_one_occluder_in_half_of_the_crops(self) -> None:
        """Against the same crops without: what differs is one rectangle of one colour, as large as said."""
        drawn, sizes, size = face(), [], 64
        bare = FaceTransform(size, replace(PUBLISHED, occluder=None, occlusion=0.0))
        covering = FaceTransform(size, PUBLISHED)
        for seed in range(200):
            one, other = covering(drawn, seed=seed).pixels, bare(drawn, seed=seed).pixels
            rows, columns = np.nonzero((one != other).any(0).numpy())
            if len(rows) == 0:
                continue
            covered = one[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].flatten(1)
            assert (covered == covered[:, :1]).all()
            sizes.append((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1))
        assert 0.4 < len(sizes) / 200 < 0.6
        sides = np.array(sizes) / size
        assert sides.max() <= 0.41
        assert sides.mean() == pytest.approx(0.2, abs=0.03)
        assert sides.std() == pytest.approx(0.08, abs=0.02)
        # Width and height are drawn by themselves.
        assert abs(np.corrcoef(sides.T)[0, 1]) < 0.3

    def test_a_fifth_is_grey_and_no_colour_changes_otherwise(self) -> None:
        """A face in front of nothing but two colours: those of a crop are these, or grey."""
        image = np.zeros((200, 200, 3), np.uint8)
        image[:] = (200, 40, 90)
        flat = Face(image, "flat", face_landmarks(80, 1) + 60)
        transform = FaceTransform(32, replace(PUBLISHED, occlusion=0.0))
        grey = []
        for seed in range(200):
            colours = transform(flat, seed=seed).pixels.flatten(1).unique(dim=1).T.tolist()
            assert len(colours) == 1
            grey.append(len(set(colours[0])) == 1)
            assert grey[-1] or colours[0] == [200, 40, 90]
        assert 0.12 < np.mean(grey) < 0.28

    def test_the_seed_alone_decides(self) -> None:
        drawn = face()
        first, again, other = (FaceTransform(48, PUBLISHED)(drawn, seed=seed) for seed in (3, 3, 4))
        assert torch.equal(first.pixels, again.pixels)
        assert torch.equal(first.matrix, again.matrix)
        assert not torch.equal(first.matrix, other.matrix)

    def test_no_seed_is_the_plain_crop(self) -> None:
        for augmentation in (PUBLISHED, Augmentation()):
            found, plain = FaceTransform(48, augmentation)(face(), seed=None), FaceTransform(48)(face())
            assert torch.equal(found.pixels, plain.pixels)
            assert torch.equal(found.matrix, plain.matrix)

    def test_distributions_need_a_crop_factor(self) -> None:
        with pytest.raises(ValueError, match="only together with crop_factor"):
            Augmentation(rotation=Normal(0, 15))
        with pytest.raises(ValueError, match="expected 0 or more"):
            Normal(0, -1)
