import pytest
import torch
from torch import Tensor

from experiments.peers.averaging import Averaged
from lightning_modules.coordinates import pixel_grid
from lightning_modules.landmarkers import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import find_landmarks


class CentreOfLight(Landmarker):
    """Finds every landmark in the centre of the light, a tenth of the crop too far to the right and down."""

    image_size, crop_factor = 64, 1.5

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> LandmarkerOutput:
        assert not self.training
        self.sizes.append(images.shape[-1])
        light = images[:, 0, ..., None]
        centres = (light * pixel_grid(images.shape[-1])).sum((1, 2)) / light.sum((1, 2))
        return LandmarkerOutput((centres + 0.1)[:, None, None].expand(-1, 1, 68, -1))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def light_at(x: float, y: float, size: int) -> Tensor:
    off = pixel_grid(size) - torch.tensor([x, y])
    return torch.exp(-off.square().sum(-1) / (2 * 0.04**2)).expand(2, 3, size, size)


@pytest.mark.parametrize(("mirror", "error"), [(False, (0.1, 0.1)), (True, (0.0, 0.1))])
def test_crops_of_every_scale_and_their_mirror_images(mirror: bool, error: tuple[float, float]) -> None:
    """An error that is a share of the crop grows with it; that to one side the mirror image takes away."""
    scales = (0.8, 1.0, 1.25)
    landmarker = CentreOfLight()
    averaged = Averaged(landmarker, scales, mirror)
    assert (averaged.image_size, averaged.crop_factor) == (80, pytest.approx(1.5 * 1.25))
    found = find_landmarks(averaged, light_at(0.42, 0.55, 80), torch.eye(2, 3).expand(2, 2, 3)).pixels / 80
    mean = sum(scales) / 3 / 1.25
    expected = torch.tensor([0.42 + error[0] * mean, 0.55 + error[1] * mean], dtype=torch.float64)
    torch.testing.assert_close(found, expected.expand(2, 68, 2), rtol=0, atol=1e-3)
    assert landmarker.sizes == [64] * (6 if mirror else 3)


def test_one_scale_is_the_landmarker_itself() -> None:
    landmarker, crops = CentreOfLight().eval(), light_at(0.4, 0.5, 64)
    assert torch.equal(Averaged(landmarker, (1.0,), mirror=False)(crops).landmarks, landmarker(crops).landmarks)


def test_it_has_no_loss() -> None:
    with pytest.raises(NotImplementedError, match="Train the landmarker that it averages"):
        Averaged(CentreOfLight()).loss(LandmarkerOutput(torch.zeros(1, 1, 68, 2)), torch.zeros(1, 68, 2))
