"""AutoToon: its shapes and objective against the paper's, written apart in numpy; training; bad input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_modules.warping import WarperObjective
from lightning_modules.warping.fields.autotoon import (
    PIXEL_STD,
    AutoToon,
    autotoon_adam,
    autotoon_loss,
    roughness,
    save_field,
)
from lightning_modules.warping.fields.dense import DenseField
from lightning_modules.weights import WeightsError
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 64
LIGHT = {"backbone": "test_efficientnet", "image_size": SIZE}


def light(**options: object) -> AutoToon:
    torch.manual_seed(0)
    return AutoToon(**{**LIGHT, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def published() -> AutoToon:
    return AutoToon().eval()


def test_the_published_network_is_cut_off_at_512_channels_of_stride_8(published: AutoToon) -> None:
    assert (published.features.channels, published.features.strides) == ([512], [8])
    assert (published.last.in_channels, published.last.out_channels, published.last.kernel_size) == (512, 2, (1, 1))
    blocks = [module for module in published.modules() if type(module).__name__ == "Bottleneck"]
    # SE-ResNet-50 has stages of 3, 4, 6 and 3 blocks, with squeeze and excitation in each: two stages are left.
    assert len(blocks) == 3 + 4
    assert all(type(block.se).__name__ == "SEModule" for block in blocks)


@pytest.mark.parametrize("size", [64, 96])
def test_its_field_has_32_by_32_nodes_whatever_the_photo(published: AutoToon, size: int) -> None:
    with torch.no_grad():
        assert published(torch.rand(1, 3, size, size)).shape == (1, 2, 32, 32)


def test_an_untrained_field_hardly_moves() -> None:
    network = light(trainable=True)
    moved = network(smooth_images(2, SIZE)).detach()
    assert 0 < float(moved.abs().max()) < 0.02


def test_the_objective_is_the_papers() -> None:
    """L1 of colours over their deviation, 0.7 L1 of the field in units of the sampling grid, 1e-6 of the cosines."""
    generator = torch.Generator().manual_seed(1)
    ours, artists = (0.02 * torch.randn(2, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    photo, caricature = (smooth_images(2, 16, seed, knots=4, dtype=torch.float64) for seed in (1, 2))
    found = autotoon_loss(ours, artists, photo, caricature)
    field = DenseField(ours, 16)
    warped, dense = field.warp(photo).numpy(), np.zeros((2, 16, 16, 2))
    for face, row, column in np.ndindex(2, 16, 16):
        place = torch.tensor([[[column / 16, row / 16]]], dtype=torch.float64)
        dense[face, row, column] = (field.evaluate(place.expand(2, -1, -1)) - place)[face, 0]
    pixels = np.mean(np.abs(warped - caricature.numpy()) / np.array(PIXEL_STD)[:, None, None])
    # [-1, 1] of the sampling grid is one crop.
    on_nodes = np.mean(np.abs(2 * ours.numpy() - 2 * artists.numpy()))
    cosines = 0.0
    for face, row, column in np.ndindex(2, 15, 15):
        here = dense[face, row, column]
        for there in (dense[face, row, column + 1], dense[face, row + 1, column]):
            cosines += 1 - here @ there / (np.linalg.norm(here) * np.linalg.norm(there))
    np.testing.assert_allclose([float(found.pixels), float(found.field)], [pixels, on_nodes])
    np.testing.assert_allclose(float(found.smoothness), cosines, rtol=1e-6)
    assert float(found.total) == pytest.approx(pixels + 0.7 * on_nodes + 1e-6 * cosines)


def test_a_constant_displacement_is_smooth() -> None:
    assert float(roughness(torch.ones(1, 2, 5, 5, dtype=torch.float64))) == pytest.approx(0, abs=1e-9)


def test_the_optimiser_is_the_papers() -> None:
    adam = autotoon_adam(light(trainable=True))
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (1e-4, (0.5, 0.999), 0)


def test_the_objectives_gradient() -> None:
    photo, caricature = (smooth_images(1, 12, seed, knots=4, dtype=torch.float64) for seed in (1, 2))
    generator = torch.Generator().manual_seed(2)
    ours, artists = (0.05 * torch.randn(1, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda d: autotoon_loss(d, artists, photo, caricature).total, ours.requires_grad_(), eps=1e-7
    )


def test_the_head_s_gradient_reaches_the_warped_photo() -> None:
    """γ of a field in face_warping: finite differences of the image in the last layer's bias."""
    network = light(trainable=True).eval().double()
    photo = smooth_images(1, SIZE, knots=4, dtype=torch.float64)

    def warped(bias: Tensor) -> Tensor:
        moved = torch.func.functional_call(network, {"last.bias": bias}, (photo,))
        return DenseField(moved, SIZE).grid(4)

    assert torch.autograd.gradcheck(warped, torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True))


class TestInTheObjective:
    def test_it_looks_at_the_photo_alone(self) -> None:
        network = light()
        network.trained.fill_(True)
        photo, face = smooth_images(2, SIZE), random_faces(2).float()
        one = network.fit(face, face, photo, photo).displacement
        other = network.fit(random_faces(2, seed=1).float(), face * 0.5, photo, photo.flip(-1)).displacement
        assert torch.equal(one, other)
        assert not torch.equal(one, network.fit(face, face, photo.flip(-1)).displacement)
        assert (network.needs_images, network.fits_landmarks) == (True, False)

    def test_strength_scales_the_displacement(self) -> None:
        network, photo, face = light(), smooth_images(1, SIZE), random_faces(1).float()
        network.trained.fill_(True)
        one = network.fit(face, face, photo).displacement
        network.strength = 2.5
        torch.testing.assert_close(network.fit(face, face, photo).displacement, 2.5 * one)

    def test_it_is_learned_only_where_it_is_trainable(self) -> None:
        photo, face = smooth_images(2, SIZE), random_faces(2).float()
        learned = WarperObjective(field=light(trainable=True))
        learned(photo, face, photo.flip(-1), face).image.sum().backward()
        assert all(parameter.grad is not None for parameter in learned.parameters())
        fixed = WarperObjective(field=light()).train()
        assert not [parameter for parameter in fixed.parameters() if parameter.requires_grad]
        assert not [module for module in fixed.field.modules() if module.training]  # type: ignore[union-attr]


class TestWeights:
    def test_they_come_back(self, tmp_path: Path) -> None:
        network, face = light(), random_faces(1).float()
        network.trained.fill_(True)
        save_field(network, tmp_path / "field.ckpt")
        torch.manual_seed(5)
        again = AutoToon(**LIGHT, weights=str(tmp_path / "field.ckpt"))  # type: ignore[arg-type]
        photo = smooth_images(1, SIZE)
        assert torch.equal(again.fit(face, face, photo).displacement, network.fit(face, face, photo).displacement)
        assert [path.name for path in tmp_path.iterdir()] == ["field.ckpt"]

    def test_others_are_refused(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
        with pytest.raises(WeightsError, match=r"other\.pt, given as weights of AutoToon"):
            AutoToon(**LIGHT, weights=str(tmp_path / "other.pt"))  # type: ignore[arg-type]
        with pytest.raises(WeightsError, match="no weights file"):
            AutoToon(**LIGHT, weights=str(tmp_path / "missing.pt"))  # type: ignore[arg-type]

    def test_an_untrained_network_warps_nothing(self) -> None:
        with pytest.raises(WeightsError, match=r"AutoToon is untrained.*weights=FILE"):
            light().fit(random_faces(1), random_faces(1), smooth_images(1, SIZE))

    def test_nor_does_one_without_a_photo(self) -> None:
        with pytest.raises(ValueError, match="found None"):
            light().fit(random_faces(1), random_faces(1))
        with pytest.raises(ValueError, match="nodes is 1"):
            light(nodes=1)
