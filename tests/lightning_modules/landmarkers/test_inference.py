"""Landmarkers whose exact answer is known: they read off the crop's pixels where in the image it was cut."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.faces import ByteArray, FloatArray
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.transforms import Square, crop_shape
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers import SLPT, Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import (
    FoundInImages,
    Inference,
    estimate,
    find_in_images,
    find_landmarks,
    mirror_landmarks,
)
from lightning_modules.landmarkers.reference_shape import MEAN_FACE

SIZE = 64
MATRICES = torch.tensor([[[0.5, 0.2, 10.0], [-0.1, 0.7, -4.0]], [[-2.0, 0.0, 60.0], [0.3, 1.5, 1.0]]])
SHAPE = torch.from_numpy(crop_shape(np.array(MEAN_FACE, np.float32))).double()
"""A face that fills its own crop as the crop rule says: where it is seen there, the crop rests."""
TIGHT = Square(60, 66, 56)
LOOSE = Square(60 + 6.0, 66 - 4.0, 56 * 1.3)


def ramp() -> ByteArray:
    """128 × 128 pixels that tell where they are: red 2 x, green 2 y; full blue tells them from the black outside."""
    y, x = np.mgrid[:128, :128]
    return np.stack([2 * x, 2 * y, np.full_like(x, 255)], axis=-1).astype(np.uint8)


class Reading(Landmarker):
    """Finds the face that fills ``TIGHT``, from the crop's own pixels, the mirrored face in a mirrored crop.

    Args:
        pull: how far it is drawn towards where the face would be if the crop were tight: the error of a landmarker that
            knows where faces usually are. Each crop to what it found leaves that share of the last crop's error.
        uncertainty: its own, in crop coordinates: one for all landmarks, or of each, shape ``(68,)``; in a mirrored
            crop it is that of the landmark on the other side.
    """

    image_size = SIZE

    def __init__(self, pull: float = 0.0, uncertainty: float | Tensor | None = None) -> None:
        super().__init__()
        self.pull, self.uncertainty, self.seen = pull, uncertainty, 0

    def forward(self, images: Tensor) -> LandmarkerOutput:
        self.seen += len(images)
        seen = [self.face(image.double() * 255) for image in images]
        spread = None
        if self.uncertainty is not None:
            own = torch.as_tensor(self.uncertainty).expand(68)
            spread = torch.stack([own[list(FLIP_PERMUTATION)] if mirrored else own for _, mirrored in seen])
        return LandmarkerOutput(torch.stack([found for found, _ in seen])[:, None].float(), uncertainty=spread)

    def face(self, image: Tensor) -> tuple[Tensor, bool]:
        """The face in a crop, and whether that is mirrored."""
        rows, columns = torch.nonzero(image[2] > 254.5, as_tuple=True)
        inside = torch.stack([columns, rows, torch.ones_like(rows)], 1).double()
        # The affine map from crop to image pixels, by least squares.
        to_image = torch.linalg.lstsq(inside, image[:2, rows, columns].T / 2).solution.T
        mirrored = bool(to_image[0, 0] < 0)
        truth = (SHAPE * TIGHT.side + torch.tensor([TIGHT.x, TIGHT.y]) - TIGHT.side / 2).double()
        seen = torch.linalg.solve(to_image[:, :2], (truth - to_image[:, 2]).T).T / SIZE
        usual = SHAPE
        if mirrored:
            seen, usual = seen[list(FLIP_PERMUTATION)], mirror_landmarks(SHAPE, SIZE)
        return (1 - self.pull) * seen + self.pull * usual, mirrored

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def truth() -> FloatArray:
    pixels: FloatArray = SHAPE.numpy() * TIGHT.side + np.array([TIGHT.x, TIGHT.y]) - TIGHT.side / 2
    return pixels


def error(found: FoundInImages) -> float:
    return float(np.abs(found.pixels.numpy() - truth()).max())


class Biased(Landmarker):
    """Finds the mean face where it is, a pixel too far to the right; fails while training."""

    image_size = SIZE

    def forward(self, images: Tensor) -> LandmarkerOutput:
        assert not self.training
        face = torch.tensor(MEAN_FACE)
        if images[0, 0, 0, 0] == 0:  # the mirror image, see below
            face = mirror_landmarks(face, SIZE)
        face = face + torch.tensor([1 / SIZE, 0.0])
        return LandmarkerOutput(face.expand(len(images), 1, -1, -1))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class TestCrops:
    def test_landmarks_are_those_of_the_crop_in_the_images_pixels(self, tiny_landmarker: SLPT) -> None:
        images = torch.rand(2, 3, SIZE, SIZE)
        found = find_landmarks(tiny_landmarker.train(), images, MATRICES)
        assert tiny_landmarker.training
        assert not found.pixels.requires_grad
        landmarks = tiny_landmarker.eval()(images).landmarks
        assert torch.equal(found.pixels, to_image_pixels(landmarks, MATRICES, SIZE))
        assert torch.equal(estimate(tiny_landmarker, images, mirror_average=False)[0], landmarks)
        assert not found.disagreement.any()
        assert found.uncertainty.isnan().all()

    @pytest.mark.parametrize(("mirror_average", "bias"), [(False, 1.0), (True, 0.0)])
    def test_the_mirror_image_takes_a_bias_to_one_side_away(self, mirror_average: bool, bias: float) -> None:
        images = torch.zeros(2, 3, SIZE, SIZE)
        images[..., :32] = 1
        face = torch.tensor(MEAN_FACE)
        expected = (face + torch.tensor([bias / SIZE, 0.0])).expand(2, 68, 2)
        apart = 2 / SIZE / (face[36] - face[45]).norm() if mirror_average else torch.tensor(0.0)
        crop, disagreement = estimate(Biased().train(), images, mirror_average)
        torch.testing.assert_close(crop, expected)
        torch.testing.assert_close(disagreement, apart.expand(2))
        white = (255 * images[0].permute(1, 2, 0)).numpy().astype(np.uint8)
        square = Square(SIZE / 2, SIZE / 2, SIZE)  # the image itself
        found = find_in_images(Biased().train(), [white] * 2, [square] * 2, Inference(mirror=mirror_average))
        torch.testing.assert_close(found.pixels, SIZE * expected.double(), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.disagreement, apart.expand(2))

    def test_uncertainty_is_the_spread_of_the_estimates_in_image_pixels(self) -> None:
        image = np.zeros((2 * SIZE, 2 * SIZE, 3), np.uint8)
        image[:, :SIZE] = 255
        squares = [Square(SIZE + 3.0, SIZE + 1.0, 2 * SIZE), Square(SIZE, SIZE, 2 * SIZE)]
        found = find_in_images(Biased(), [image] * 2, squares, Inference(mirror=True))
        # Two image pixels to either side: a variance of 8 along x and of 0 along y.
        torch.testing.assert_close(found.uncertainty, torch.full((2, 68), 2.0).double(), atol=1e-4, rtol=0)

    def test_mirroring_swaps_left_and_right_and_comes_back(self) -> None:
        landmarks = torch.rand(2, 68, 2)
        found = mirror_landmarks(landmarks, SIZE)
        torch.testing.assert_close(found[:, 0, 0], (SIZE - 1) / SIZE - landmarks[:, FLIP_PERMUTATION[0], 0])
        torch.testing.assert_close(mirror_landmarks(found, SIZE), landmarks)


class TestAverages:
    # At these scales, all pixels of these crops lie on half pixels of the image, where the ramp is whole numbers.
    SQUARES = Square(64, 64, SIZE), Square(60, 70, SIZE)

    @pytest.mark.parametrize("mirror", [False, True])
    @pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0), (2.0, 1.0, 0.5)])
    def test_of_equal_estimates_are_these_estimates(self, mirror: bool, scales: tuple[float, ...]) -> None:
        how = Inference(mirror=mirror, scales=scales)
        found = find_in_images(Reading(), [ramp()] * 2, self.SQUARES, how)
        assert error(found) < 1e-4
        assert found.disagreement.max() < 1e-5
        assert found.squares == list(self.SQUARES)
        assert bool(found.uncertainty.isnan().all()) == (not mirror and len(scales) == 1)

    def test_a_landmarkers_own_uncertainty_is_counted_in_image_pixels(self) -> None:
        landmarker = Reading(uncertainty=0.01)
        alone = find_in_images(landmarker, [ramp()], [Square(64, 64, SIZE)], Inference(scales=(2.0,)))
        torch.testing.assert_close(alone.uncertainty, torch.full((1, 68), 0.01 * 2 * SIZE).double())
        both = find_in_images(landmarker, [ramp()], [Square(64, 64, SIZE)], Inference(scales=(2.0, 1.0)))
        expected = 0.01 * SIZE * (2.5**0.5)
        torch.testing.assert_close(both.uncertainty, torch.full((1, 68), expected).double(), atol=1e-4, rtol=0)

    def test_a_mirror_images_own_uncertainty_is_that_of_the_landmark_on_the_other_side(self) -> None:
        """Each landmark of the image has one of its own; in the mirror image, the landmark that takes its place."""
        own = torch.linspace(0.01, 0.02, 68)
        found = find_in_images(Reading(uncertainty=own), [ramp()], [Square(64, 64, SIZE)], Inference(mirror=True))
        torch.testing.assert_close(found.uncertainty[0], (SIZE * own).double(), atol=1e-3, rtol=0)

    def test_are_taken_where_estimates_differ_by_scale(self) -> None:
        landmarker, image, square = Reading(pull=0.5), [ramp()], [Square(64, 64, SIZE)]
        one, two = (find_in_images(landmarker, image, square, Inference(scales=(s,))).pixels for s in (0.5, 1.0))
        both = find_in_images(landmarker, image, square, Inference(scales=(0.5, 1.0)))
        torch.testing.assert_close(both.pixels, (one + two) / 2)
        apart = (one - two).norm(dim=-1).mean() / (both.pixels[0, 36] - both.pixels[0, 45]).norm()
        torch.testing.assert_close(both.disagreement, apart[None].float())


class TestCroppingAgain:
    def test_goes_from_a_loose_box_to_the_face(self) -> None:
        # The last two of three and more rounds do not move the crop.
        rounds = [0, 1, 2, 5, 6, 7]
        found = [find_in_images(Reading(0.4), [ramp()], [LOOSE], Inference(n, tolerance=0)) for n in rounds]
        off = [TIGHT.change_to(each.squares[0]) for each in found]
        # Each round leaves 0.4 of the last one's error, down to what 8-bit pixels tell.
        assert off[0] == pytest.approx(0.3)
        for before, after in pairwise(off):
            assert after < max(0.45 * before, 0.005)
        errors = [error(each) for each in found]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > 3
        assert errors[-1] < 0.3

    def test_averages_rounds_but_not_the_loose_crop(self) -> None:
        steps = [find_in_images(Reading(0.15), [ramp()], [LOOSE], Inference(n, tolerance=0)) for n in range(3)]
        alone = [find_in_images(Reading(0.15), [ramp()], each.squares).pixels for each in steps]
        torch.testing.assert_close(steps[0].pixels, alone[0])
        torch.testing.assert_close(steps[1].pixels, alone[1])
        assert steps[1].squares[0].change_to(steps[2].squares[0]) < 0.05
        torch.testing.assert_close(steps[2].pixels, (alone[1] + alone[2]) / 2)
        assert steps[1].uncertainty.isnan().all()
        assert (steps[2].uncertainty > 0).all()

    def test_takes_a_third_and_a_fourth_crop_closer_and_wider_and_averages_them(self) -> None:
        steps = [find_in_images(Reading(0.15), [ramp()], [LOOSE], Inference(n, tolerance=0)) for n in range(5)]
        square = steps[2].squares[0]
        assert steps[3].squares == steps[4].squares == [square]
        closer, wider = (
            find_in_images(Reading(0.15), [ramp()], [square], Inference(scales=(s,))).pixels for s in (0.95, 1.05)
        )
        torch.testing.assert_close(steps[3].pixels, (2 * steps[2].pixels + closer) / 3)
        torch.testing.assert_close(steps[4].pixels, (2 * steps[2].pixels + closer + wider) / 4)
        assert [int(step.crops) for step in steps] == [1, 2, 3, 4, 5]

    def test_ends_for_each_face_when_its_square_rests(self) -> None:
        landmarker = Reading()
        found = find_in_images(landmarker, [ramp()] * 2, [TIGHT, LOOSE], Inference(recrop=9))
        assert found.crops.tolist() == [1, 4], "moved once; closer; wider"
        assert landmarker.seen == 5, "a face whose square rests is not computed again"
        assert found.squares[0] == TIGHT
        assert error(found) < 0.15

    def test_never_goes_on_for_longer_than_asked(self) -> None:
        landmarker = Reading(pull=0.9)
        assert find_in_images(landmarker, [ramp()], [LOOSE], Inference(3, tolerance=0)).crops.tolist() == [4]
        assert landmarker.seen == 4

    @pytest.mark.parametrize("mirror", [False, True])
    def test_averages_as_well(self, mirror: bool) -> None:
        how = Inference(8, mirror, (0.9, 1.1), tolerance=0)
        assert error(find_in_images(Reading(0.4), [ramp()], [LOOSE], how)) < 0.3

    def test_faces_do_not_depend_on_those_beside_them(self) -> None:
        squares = [TIGHT, LOOSE, Square(50, 60, 80)]
        together = find_in_images(Reading(0.4), [ramp()] * 3, squares, Inference(4))
        for i, square in enumerate(squares):
            alone = find_in_images(Reading(0.4), [ramp()], [square], Inference(4))
            assert alone.squares[0] == pytest.approx(together.squares[i])
            assert alone.crops[0] == together.crops[i]


class Broken(Landmarker):
    """Finds the same landmarks in whatever crop."""

    image_size = SIZE

    def __init__(self, landmarks: Tensor) -> None:
        super().__init__()
        self.landmarks = landmarks.float()

    def forward(self, images: Tensor) -> LandmarkerOutput:
        return LandmarkerOutput(self.landmarks.expand(len(images), 1, 68, 2))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


BROKEN = {
    "one point": torch.full((68, 2), 0.5),
    "one point at the corner": torch.zeros(68, 2),
    "a small face": SHAPE * 0.01 + 0.9,
    "a huge face": SHAPE * 1e4 - 5e3,
    "a far face": SHAPE + 1e6,
    "a line": torch.linspace(-5, 5, 68)[:, None] * torch.tensor([1.0, 0.0]),
    "noise": torch.randn(68, 2, generator=torch.Generator().manual_seed(0)) * 10,
}


@pytest.mark.parametrize("landmarks", BROKEN.values(), ids=BROKEN)
def test_no_landmarker_makes_a_square_collapse_or_run_away(landmarks: Tensor) -> None:
    image = ramp()[:100]  # 128 pixels wide, 100 high
    steps = [find_in_images(Broken(landmarks), [image], [TIGHT], Inference(n)).squares[0] for n in range(20)]
    for before, after in pairwise(steps):
        assert 1 / 1.5 - 1e-9 <= after.side / before.side <= 1.5 + 1e-9
        assert max(abs(after.x - before.x), abs(after.y - before.y)) <= before.side / 2 + 1e-9
    for square in steps:
        assert 8 <= square.side <= 256
        assert 0 <= square.x <= 127
        assert 0 <= square.y <= 99


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_square_stays_where_landmarks_are_not_finite(value: float) -> None:
    landmarks = SHAPE.clone()
    landmarks[7, 1] = value
    found = find_in_images(Broken(landmarks), [ramp()], [LOOSE], Inference(3))
    assert found.squares == [LOOSE]
    assert found.crops.tolist() == [1]


@pytest.mark.parametrize("index", [8, 0, 19])
def test_a_point_that_flies_off_hardly_moves_the_square(index: int) -> None:
    landmarks = SHAPE.clone()
    landmarks[index] += torch.tensor([0.3, -0.5])
    square = find_in_images(Broken(landmarks), [ramp()], [TIGHT], Inference(1, tolerance=0)).squares[0]
    assert TIGHT.change_to(square) < 0.1, "its own box would be 0.3 to 0.6 away"


class TestChoices:
    def test_are_said_in_words(self) -> None:
        assert str(Inference()) == "one crop"
        near = "(crops within 5 % of the last averaged)"
        assert str(Inference(2, True)) == f"cropped again twice {near}, mirror averaged"
        settled = "(crops within 5 % of the last averaged, the last of other sizes)"
        assert str(Inference(7, scales=(0.9, 1.1))) == f"cropped again 7 times {settled}, scales 0.9, 1.1 averaged"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"recrop": -1}, "recrop: found -1, expected"),
            ({"scales": ()}, "scales: found none, expected"),
            ({"scales": (1.0, 0.0)}, "scales: found 1 0, expected"),
            ({"scales": (float("nan"),)}, "scales: found nan, expected"),
            ({"tolerance": 1.0}, "tolerance: found 1, expected"),
            ({"tolerance": float("nan")}, "tolerance: found nan, expected"),
        ],
    )
    def test_out_of_range_are_refused(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Inference(**options)  # type: ignore[arg-type]
