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
from jsonargparse import ArgumentParser
from torch import Tensor

from lightning_modules.backbones.packaged import package_state
from lightning_modules.warping import ImageLoss, MultiScale, Perceptual, PolyharmonicSpline, WarperObjective
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


# --- what it computes -------------------------------------------------------------------------------------------------


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


def test_the_layers_of_lpips_are_rectified_and_as_wide_as_published() -> None:
    loss = Perceptual("squeezenet1_1", source="torchvision", pretrained=False)
    maps = loss.features(torch.rand(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [64, 128, 256, 384, 384, 512, 512]
    assert all((m >= 0).all() for m in maps)


def test_weights_of_a_timm_network_come_from_a_file(tmp_path: Path, tiny: Perceptual) -> None:
    torch.manual_seed(6)
    network = timm.create_model("test_efficientnet").eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "tiny.pth")
    loaded = Perceptual(**{**TINY, "weights": str(tmp_path / "tiny.pth"), "pretrained": True})
    image = pair()[0]
    mean, std = (torch.tensor(loaded.features.__dict__[name])[:, None, None] for name in ("mean", "std"))
    assert (loaded.features.mean, loaded.features.std) == (
        network.pretrained_cfg["mean"],
        network.pretrained_cfg["std"],
    )
    expected = network.forward_intermediates((image - mean) / std, indices=[0, 2], intermediates_only=True)
    for found, wanted in zip(loaded.features(image), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert not torch.equal(loaded.features(image)[1], tiny.features(image)[1])


def test_it_is_zero_on_equals_per_face_and_between_0_and_4() -> None:
    loss, (warped, stylised) = Perceptual(layers=[1, 2]), pair()
    assert loss(stylised, stylised).abs().max() == 0
    values = loss(warped.requires_grad_(), stylised)
    assert ((values > 0) & (values < 4)).all()
    (slope,) = torch.autograd.grad(values[0], warped)
    assert slope[0].abs().max() > 0
    assert slope[1].abs().max() == 0


def test_a_mask_counts_where_features_lie(tiny: Perceptual) -> None:
    warped, stylised = pair()
    left = torch.zeros(2, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1
    assert not torch.allclose(tiny(warped, stylised, left), tiny(warped, stylised, 1 - left), rtol=0.01)
    none = tiny(warped.requires_grad_(), stylised, 0 * left)
    (slope,) = torch.autograd.grad(none.sum(), warped)
    assert none.tolist() == [0, 0]
    assert (slope == 0).all()


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_its_derivative_is_that_of_finite_differences(normalise: bool) -> None:
    loss = Perceptual(**TINY, normalise=normalise)
    warped, stylised = (image[:1].requires_grad_() for image in pair(torch.float64))
    mask = torch.rand(1, 1, SIZE, SIZE, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (warped, stylised, mask), fast_mode=True)


@pytest.mark.parametrize("whole", [Perceptual, lambda **options: MultiScale(Perceptual(**options), levels=2)])
def test_its_derivative_reaches_the_landmarks_through_the_warp(whole: Callable[..., ImageLoss]) -> None:
    loss = whole(layers=[0, 1])
    photo, stylised = (image[:1] for image in pair(torch.float64))
    predicted, labels = (random_faces(1, seed=seed)[:, ::9].clone().requires_grad_() for seed in (3, 4))

    def compare(predicted: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = loss(PolyharmonicSpline.fit(predicted, labels).warp(photo, coarse=7), stylised)
        return value

    (slope,) = torch.autograd.grad(compare(predicted, labels).sum(), predicted)
    assert slope.abs().max() > 1e-3
    assert torch.autograd.gradcheck(compare, (predicted, labels), eps=1e-8, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_features_that_are_all_zero_have_a_finite_gradient() -> None:
    loss = Perceptual("squeezenet1_1", source="torchvision", pretrained=False)
    for weight in loss.features.network.parameters():
        weight.zero_()
    image = pair()[0].requires_grad_()
    (slope,) = torch.autograd.grad(loss(image, image.detach()).sum(), image)
    assert (slope == 0).all()


# --- frozen -----------------------------------------------------------------------------------------------------------


def weights_of(loss: Perceptual) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loss.features.network.state_dict().items()}


def test_the_network_is_neither_trained_nor_saved() -> None:
    objective = WarperObjective(image_loss=Perceptual(**TINY), coarse=9).train()
    loss: Any = objective.image_loss
    before = weights_of(loss)
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}
    assert not any(module.training for module in loss.features.network.modules())
    (photo, stylised), predicted = pair(), random_faces(2, seed=4).float().requires_grad_()
    objective(photo, random_faces(2, seed=3).float(), stylised, predicted).image.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() > 0
    assert all(weight.grad is None for weight in loss.features.network.parameters())
    after = weights_of(loss)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_run_that_goes_on_compares_as_before() -> None:
    torch.manual_seed(1)
    first, state = Perceptual(**TINY), torch.get_rng_state()
    torch.manual_seed(2)
    second = Perceptual(**TINY)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*pair()), second(*pair()))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state()), "it draws from no one else's random numbers"


def test_copies_compare_alike(tiny: Perceptual) -> None:
    for other in (copy.deepcopy(tiny), pickle.loads(pickle.dumps(tiny))):
        assert other.features.network is not tiny.features.network
        assert torch.equal(other(*pair()), tiny(*pair()))


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


def test_it_runs_in_float32_under_autocast(tiny: Perceptual) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = tiny(*pair())
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, tiny(*pair()))


def test_yaml_chooses_it(tiny: Perceptual) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageLoss, "loss")
    inner = {"class_path": "lightning_modules.warping.Perceptual", "init_args": TINY}
    chosen = {"class_path": "lightning_modules.warping.MultiScale", "init_args": {"loss": inner, "levels": 1}}
    loss = parser.instantiate(parser.parse_object({"loss": chosen})).loss
    assert torch.equal(loss(*pair()), tiny(*pair()))
