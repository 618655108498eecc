import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.landmarkers import SLPT
from lightning_modules.landmarkers.losses import interocular_loss
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.landmarkers.slpt.decoder import RelationAttention
from lightning_modules.weights import WeightsError
from tests.lightning_modules.landmarkers.training import rand

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


def test_it_gives_the_estimates_of_every_layer(light: SLPT) -> None:
    output = light(rand(2, 3, 64, 64))
    assert output.intermediate.shape == (2, 3, 2, 68, 2)
    torch.testing.assert_close(output.intermediate[:, :, -1], output.stages)
    assert (output.landmarks - light.mean_face).abs().max() < 0.05, "untrained, it returns about the mean face"


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


def test_its_loss_weighs_stages_and_averages_layers(light: SLPT) -> None:
    output, target = light(rand(2, 3, 64, 64)), torch.tensor(MEAN_FACE) + 0.05 * rand(2, 68, 2)
    weight = torch.tensor([1.0, 0.25])
    expected = 0.0
    for stage, share in enumerate((0.2, 0.3, 0.5)):
        layers = [interocular_loss(output.intermediate[:, stage, k], target, weight).item() for k in range(2)]
        expected += share * float(np.mean(layers))
    assert light.loss(output, target, weight).item() == pytest.approx(expected, rel=1e-5)
    assert light.loss(output, target, torch.zeros(2)).item() == 0


def test_the_fitted_mean_face_is_kept_with_the_weights(tmp_path: Path) -> None:
    landmarker, path, shapes = SLPT(**LIGHT), tmp_path / "slpt.pt", rand(5, 68, 2)
    torch.testing.assert_close(landmarker.mean_face, torch.tensor(MEAN_FACE))
    landmarker.fit_shapes(shapes)
    torch.save(landmarker.state_dict(), path)
    torch.testing.assert_close(SLPT(**LIGHT, weights=str(path)).mean_face, shapes.mean(0))
    with pytest.raises(ValueError, match=r"\(68, 2\); expected \(N, 68, 2\)"):
        landmarker.fit_shapes(torch.zeros(68, 2))


def test_mean_face_files(tmp_path: Path) -> None:
    face = rand(68, 2).numpy()
    np.save(tmp_path / "face.npy", face)
    np.savez(tmp_path / "face.npz", init_face=face * 256)
    for name in ("face.npy", "face.npz"):
        np.testing.assert_allclose(SLPT(**LIGHT, mean_face=str(tmp_path / name)).mean_face, face, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no array", "cannot be read as a mean face"), (None, r"shape \(5, 2\) and type float64; expected \(68, 2\)")],
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


def test_landmarkers_import_without_lightning() -> None:
    code = "import sys, lightning_modules.landmarkers; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parents[1], check=False).returncode == 0


def test_attention_is_that_of_torch_with_the_same_parameters() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    ours = RelationAttention(16, 4, dropout=0.0)
    ours.load_state_dict(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    state, values, query, structure = rand(1, 68, 16), rand(3, 68, 16), rand(1, 68, 16), rand(1, 68, 16)
    queries = (state + query).expand_as(values)
    expected, _ = theirs(queries, values + structure, values, need_weights=False)
    found = ours(state, values, query, structure)
    torch.testing.assert_close(found, expected)
    towards = rand(3, 68, 16)
    torch.testing.assert_close(
        torch.autograd.grad(found, tuple(ours.parameters()), towards),
        torch.autograd.grad(expected, tuple(theirs.parameters()), towards),
    )


def test_dropout_of_the_attention_is_for_training_alone() -> None:
    attention, states = RelationAttention(16, 4, dropout=0.5), rand(2, 68, 16)
    nothing = torch.zeros(1, 68, 16)
    dropped = [attention(states, states, nothing, nothing) for _ in range(2)]
    assert not torch.equal(*dropped)
    kept = [attention.eval()(states, states, nothing, nothing) for _ in range(2)]
    torch.testing.assert_close(*kept)
