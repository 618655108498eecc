"""The perceptual loss against networks put together apart from it, and what a frozen network must not do."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision.models as vision
from torch import Tensor

from lightning_modules.backbones.packaged import package_state
from lightning_modules.warping import Perceptual, WarperObjective
from lightning_modules.weights import load_state
from tests.lightning_modules.warping.layouts import random_faces, smooth_images
from tests.lightning_modules.warping.numpy_images import Array

SIZE = 32
TINY: dict[str, Any] = {"network": "test_efficientnet", "pretrained": False, "layers": [0, 2]}


def pair(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return smooth_images(2, SIZE, seed=1, knots=9, dtype=dtype), smooth_images(2, SIZE, seed=2, knots=9, dtype=dtype)


@pytest.fixture(scope="module")
def tiny() -> Perceptual:
    return Perceptual(**TINY)


def reference(a: list[Array], b: list[Array], mask: Array, normalise: bool) -> float:
    """LPIPS without learned weights, of one face: feature maps ``(C, h, w)``, a mask ``(S, S)``."""
    losses = []
    for x, y in zip(a, b, strict=True):
        if normalise:
            x, y = (m / np.sqrt((m**2).sum(axis=0) + 1e-6) for m in (x, y))
        squares = ((x - y) ** 2).sum(axis=0) / (1 if normalise else len(x))
        side = mask.shape[0] // squares.shape[0]
        area = mask.reshape(squares.shape[0], side, squares.shape[1], side).mean(axis=(1, 3))
        losses.append((squares * area).sum() / area.sum())
    return float(np.mean(losses))


def assert_agrees(loss: Perceptual, maps: Callable[[Tensor], list[Tensor]]) -> None:
    warped, stylised = pair()
    mask = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    found = loss(warped, stylised, mask)
    with torch.no_grad():
        a, b = ([m.double().numpy() for m in maps(image)] for image in (warped, stylised))
    for i in range(2):
        expected = reference([m[i] for m in a], [m[i] for m in b], mask[i, 0].double().numpy(), loss.normalise)
        assert found[i].item() == pytest.approx(expected, rel=2e-4)
        assert expected > 1e-3


@pytest.mark.parametrize(("layers", "normalise"), [(None, True), ([1, 3], True), ([0, 2, 4], False)])
def test_agrees_with_the_packaged_network_and_numpy(layers: list[int | str] | None, normalise: bool) -> None:
    trunk = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=layers or [1, 2]).eval()
    load_state(trunk, package_state("tf_efficientnet_lite0"), "the package", partial=True)
    assert_agrees(Perceptual(layers=layers, normalise=normalise), lambda image: trunk(image * 2 - 1))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_agrees_with_a_torchvision_network_from_a_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(5)
    network = vision.resnet18().eval()
    path = tmp_path / f"resnet18{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    loss = Perceptual("resnet18", ["layer1", "layer2"], source="torchvision", weights=str(path), pretrained=False)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def maps(image: Tensor) -> list[Tensor]:
        stem = network.maxpool(network.relu(network.bn1(network.conv1((image - mean) / std))))
        first = network.layer1(stem)
        return [first, network.layer2(first)]

    assert_agrees(loss, maps)


def test_a_mask_counts_where_features_lie(tiny: Perceptual) -> None:
    warped, stylised = pair()
    left = torch.zeros(2, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1
    assert not torch.allclose(tiny(warped, stylised, left), tiny(warped, stylised, 1 - left), rtol=0.01)
    none = tiny(warped.requires_grad_(), stylised, 0 * left)
    (slope,) = torch.autograd.grad(none.sum(), warped)
    assert none.tolist() == [0, 0]
    assert (slope == 0).all()


def test_features_that_are_all_zero_have_a_finite_gradient() -> None:
    loss = Perceptual("squeezenet1_1", source="torchvision", pretrained=False)
    for weight in loss.features.network.parameters():
        weight.zero_()
    image = pair()[0].requires_grad_()
    (slope,) = torch.autograd.grad(loss(image, image.detach()).sum(), image)
    assert (slope == 0).all()


def test_the_network_is_neither_trained_nor_saved_nor_random() -> None:
    objective = WarperObjective(image_loss=Perceptual(**TINY), coarse=9).train()
    loss: Any = objective.image_loss
    before = copy.deepcopy(loss.features.network.state_dict())
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}
    assert not any(module.training for module in loss.features.network.modules())
    (photo, stylised), predicted = pair(), random_faces(2, seed=4).float().requires_grad_()
    objective(photo, random_faces(2, seed=3).float(), stylised, predicted).image.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() > 0
    assert all(weight.grad is None for weight in loss.features.network.parameters())
    state = torch.get_rng_state()
    for other in (Perceptual(**TINY), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        after = other.features.network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(state, torch.get_rng_state()), "global random numbers are left alone"


def test_the_network_follows_the_images() -> None:
    loss, (warped, stylised) = Perceptual(**TINY), pair(torch.float64)
    expected = loss(warped.float(), stylised.float())
    with torch.inference_mode():  # as a picture of a validation epoch may be the first to use it
        double = loss(warped, stylised)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-6)
    loss(warped.requires_grad_(), stylised).sum().backward()
    assert warped.grad is not None
    assert torch.equal(loss(warped.detach().float(), stylised.float()), expected), "float32 weights come back exactly"
