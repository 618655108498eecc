import pytest
import torch
from torch import Tensor

from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.coordinates import to_crop, to_image_pixels
from lightning_modules.landmarkers import SLPT, Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import find_landmarks, mirror_landmarks
from lightning_modules.landmarkers.reference_shape import MEAN_FACE

SIZE = 64
MATRICES = torch.tensor([[[0.5, 0.2, 10.0], [-0.1, 0.7, -4.0]], [[-2.0, 0.0, 60.0], [0.3, 1.5, 1.0]]])


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


def test_landmarks_are_those_of_the_crop_in_the_images_pixels(tiny_landmarker: SLPT) -> None:
    images = torch.rand(2, 3, SIZE, SIZE)
    found = find_landmarks(tiny_landmarker.train(), images, MATRICES)
    assert tiny_landmarker.training
    assert not found.pixels.requires_grad
    landmarks = tiny_landmarker.eval()(images).landmarks
    assert torch.equal(found.pixels, to_image_pixels(landmarks, MATRICES, SIZE))
    assert torch.equal(found.crop, landmarks)
    assert not found.disagreement.any()


@pytest.mark.parametrize(("mirror_average", "bias"), [(False, 1.0), (True, 0.0)])
def test_the_mirror_image_takes_a_bias_to_one_side_away(mirror_average: bool, bias: float) -> None:
    images = torch.zeros(2, 3, SIZE, SIZE)
    images[..., :32] = 1
    found = find_landmarks(Biased().train(), images, MATRICES, mirror_average)
    face = torch.tensor(MEAN_FACE)
    torch.testing.assert_close(found.crop, (face + torch.tensor([bias / SIZE, 0.0])).expand(2, 68, 2))
    torch.testing.assert_close(to_crop(found.pixels, MATRICES, SIZE).float(), found.crop)
    apart = 2 / SIZE / (face[36] - face[45]).norm() if mirror_average else torch.tensor(0.0)
    torch.testing.assert_close(found.disagreement, apart.expand(2))


def test_mirroring_swaps_left_and_right_and_comes_back() -> None:
    landmarks = torch.rand(2, 68, 2)
    found = mirror_landmarks(landmarks, SIZE)
    torch.testing.assert_close(found[:, 0, 0], (SIZE - 1) / SIZE - landmarks[:, FLIP_PERMUTATION[0], 0])
    torch.testing.assert_close(mirror_landmarks(found, SIZE), landmarks)
