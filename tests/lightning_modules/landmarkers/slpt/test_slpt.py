import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from lightning_modules.landmarkers import SLPT, Landmarker
from lightning_modules.landmarkers.losses import interocular_loss
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.weights import WeightsError

CONFIGS = Path(__file__).parents[4] / "configs" / "landmarkers"
LIGHT: dict[str, Any] = {
    "image_size": 64,
    "backbone": "tf_efficientnet_lite0",
    "embed_dim": 32,
    "feature_dim": 16,
    "num_layers": 2,
    "num_heads": 4,
    "feedforward_dim": 64,
    "patch_size": 5,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def light() -> SLPT:
    torch.manual_seed(0)
    return SLPT(**LIGHT).eval()


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_it_gives_every_stage_and_every_layer(light: SLPT) -> None:
    output = light(rand(2, 3, 64, 64))
    assert output.stages.shape == (2, 3, 68, 2)
    assert output.intermediate.shape == (2, 3, 2, 68, 2)
    torch.testing.assert_close(output.intermediate[:, :, -1], output.stages)
    torch.testing.assert_close(output.landmarks, output.stages[:, 2])


def test_untrained_it_returns_about_the_mean_face(light: SLPT) -> None:
    assert (light(rand(2, 3, 64, 64)).landmarks - light.mean_face).abs().max() < 0.05


def test_images_are_normalised_inside(light: SLPT) -> None:
    images = rand(2, 3, 64, 64)
    expected = light.forward_normalized((images - 0.5) / 0.5)
    torch.testing.assert_close(light(images).stages, expected.stages)


@pytest.mark.parametrize("kwargs", [LIGHT, {"image_size": 64}], ids=["light", "published"])
def test_every_parameter_has_a_gradient_from_the_stages_alone(kwargs: dict[str, Any]) -> None:
    """Plain DDP stops at a parameter without one; methods use ``stages`` and not ``intermediate``."""
    landmarker = SLPT(**kwargs).train()
    landmarker(rand(2, 3, 64, 64)).stages.square().mean().backward()
    assert [name for name, p in landmarker.named_parameters() if p.grad is None] == []


def test_the_last_stage_reaches_the_backbone(light: SLPT) -> None:
    light.zero_grad()
    light(rand(2, 3, 64, 64)).landmarks.sum().backward()
    gradients = [p.grad for p in light.backbone.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert sum(g.abs().sum() for g in gradients if g is not None) > 0
    light.zero_grad()


def test_stages_do_not_differentiate_through_where_patches_lie(light: SLPT) -> None:
    """With the mean face as the only leaf, published SLPT passes nothing on (detached anchors)."""
    features = rand(1, 16, 16, 16)
    face = light.mean_face.clone().requires_grad_()
    held, light.mean_face = light.mean_face, face
    try:
        (gradient,) = torch.autograd.grad(light.from_features(features).stages.sum(), face, allow_unused=True)
    finally:
        light.mean_face = held
    assert gradient is None


def test_channels_last_changes_the_speed_only(light: SLPT) -> None:
    quick = SLPT(**LIGHT, channels_last=True).eval()
    quick.load_state_dict(light.state_dict())
    images = rand(2, 3, 64, 64)
    torch.testing.assert_close(quick(images).stages, light(images).stages, atol=1e-5, rtol=1e-4)


def test_its_loss_weighs_stages_and_averages_layers(light: SLPT) -> None:
    output, target = light(rand(2, 3, 64, 64)), torch.tensor(MEAN_FACE) + 0.05 * rand(2, 68, 2)
    weight = torch.tensor([1.0, 0.25])
    expected = 0.0
    for stage, share in enumerate((0.2, 0.3, 0.5)):
        layers = [interocular_loss(output.intermediate[:, stage, k], target, weight).item() for k in range(2)]
        expected += share * float(np.mean(layers))
    assert light.loss(output, target, weight).item() == pytest.approx(expected, rel=1e-5)
    assert light.loss(output, target, torch.zeros(2)).item() == 0


def test_it_learns_two_shapes() -> None:
    torch.manual_seed(0)
    landmarker = SLPT(**LIGHT).train()
    images, target = rand(4, 3, 64, 64), torch.tensor(MEAN_FACE) + 0.1 * (rand(4, 1, 2) - 0.5)
    optimizer = torch.optim.Adam(landmarker.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        loss = landmarker.loss(landmarker(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_fitted_mean_face_is_kept_with_the_weights(tmp_path: Path) -> None:
    landmarker, path = SLPT(**LIGHT), tmp_path / "slpt.pt"
    torch.testing.assert_close(landmarker.mean_face, torch.tensor(MEAN_FACE))
    shapes = rand(5, 68, 2)
    landmarker.fit_shapes(shapes)
    torch.save(landmarker.state_dict(), path)
    again = SLPT(**LIGHT, weights=str(path))
    torch.testing.assert_close(again.mean_face, shapes.mean(0))
    for name, value in landmarker.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    with pytest.raises(ValueError, match=r"\(68, 2\); expected \(N, 68, 2\)"):
        landmarker.fit_shapes(torch.zeros(68, 2))


def test_weights_of_another_configuration_are_refused(light: SLPT, tmp_path: Path) -> None:
    path = tmp_path / "slpt.pt"
    torch.save(light.state_dict(), path)
    with pytest.raises(WeightsError, match=r"slpt\.pt does not hold.*\n  patch_embedding\.weight: shape"):
        SLPT(**{**LIGHT, "patch_size": 7}, weights=str(path))


def test_mean_face_files(tmp_path: Path) -> None:
    face = rand(68, 2).numpy()
    np.save(tmp_path / "face.npy", face)
    np.savez(tmp_path / "face.npz", init_face=face * 256)
    for name in ("face.npy", "face.npz"):
        np.testing.assert_allclose(SLPT(**LIGHT, mean_face=str(tmp_path / name)).mean_face, face, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no array", "cannot be read as a mean face"), (None, r"shape \(5, 2\); expected \(68, 2\)")],
)
def test_bad_mean_face_files_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "face.npy"
    np.save(path, np.zeros((5, 2)))
    if content:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"face\.npy.*{message}"):
        SLPT(**LIGHT, mean_face=str(path))
    with pytest.raises(FileNotFoundError, match="no mean face file"):
        SLPT(**LIGHT, mean_face=str(tmp_path / "absent.npy"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"stage_weights": (1.0,)}, "patch_sides has 3 stages and stage_weights 1"),
        ({"num_heads": 5}, "does not divide"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SLPT(**{**LIGHT, **wrong})


@pytest.mark.parametrize(("files", "size"), [(["slpt.yaml"], 256), (["slpt.yaml", "slpt.quick.yaml"], 128)])
def test_shipped_configurations_build(files: list[str], size: int) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(Landmarker, "model.init_args.landmarker", required=True)
    parser.add_argument("--run.landmarker", type=str)
    parser.add_argument("--config", action="config")
    arguments = parser.parse_args([f"--config={CONFIGS / name}" for name in files])
    landmarker = parser.instantiate(arguments)["model.init_args.landmarker"]
    assert isinstance(landmarker, SLPT)
    assert landmarker.image_size == size
    assert landmarker.stage_weights == (0.2, 0.3, 0.5)


def test_landmarkers_import_without_lightning() -> None:
    code = "import sys, lightning_modules.landmarkers; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parents[1], check=False).returncode == 0
