"""Training of fields: it lowers the objective; what is made is used again."""

import logging
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from datamodules.datasets.pairs import PairBatch
from experiments.artifacts.fields import FieldTraining, trained_autotoon, trained_carigeogan
from experiments.artifacts.store import RunContext
from lightning_modules.warping.fields.autotoon import AutoToon, autotoon_loss
from lightning_modules.warping.fields.carigeogan import CariGeoGAN
from lightning_modules.warping.fields.spline import PolyharmonicSpline
from lightning_modules.warping.fields.training import artists_displacement, mirror_pairs
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 32
LIGHT = {"backbone": "test_efficientnet", "nodes": 8, "image_size": SIZE}
OPTIONS = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings(r"ignore:.*isinstance\(treespec, LeafSpec\)"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(tmp_path, 0, OPTIONS, Trainer(**OPTIONS, logger=False).strategy)  # type: ignore[arg-type]


def pairs() -> PairBatch:
    """Four photos, all moved by the artist in the same way: eyes up and chin down."""
    photos, shapes = smooth_images(4, SIZE, knots=6), random_faces(4, jitter=0.0).float()
    moved = shapes.clone()
    moved[..., 1] += 0.2 * (shapes[..., 1] - 0.5)
    caricatures = PolyharmonicSpline.fit(moved, shapes, border_anchors=9).warp(photos)
    return PairBatch(photos, shapes, caricatures, moved, ["a", "b", "c", "d"])


def autotoon_objective(network: AutoToon) -> float:
    data = pairs()
    with torch.no_grad():
        moved, artists = network.eval()(data.photos), artists_displacement(data, network.nodes)
        return float(autotoon_loss(moved, artists, data.photos, data.caricatures).total)


def test_training_lowers_autotoons_objective(context: RunContext, caplog: pytest.LogCaptureFixture) -> None:
    how = FieldTraining(max_epochs=1, steps_per_epoch=25, batch_size=4, learning_rate=1e-2)
    path = trained_autotoon(pairs(), how, context, **LIGHT)
    torch.manual_seed(0)
    before, after = autotoon_objective(AutoToon(**LIGHT)), autotoon_objective(AutoToon(**LIGHT, weights=str(path)))  # type: ignore[arg-type]
    assert after < 0.95 * before
    assert path.parent.name.startswith("autotoon-")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert trained_autotoon(pairs(), how, context, **LIGHT) == path
    assert "making" not in caplog.text


def test_training_lowers_the_cycle_term(context: RunContext) -> None:
    photos, caricatures = random_faces(40).float(), 2 * random_faces(40, seed=1).float()
    how = FieldTraining(max_epochs=1, steps_per_epoch=40, batch_size=16, learning_rate=2e-3)
    path = trained_carigeogan(photos.double(), caricatures, how, context, components=4)  # landmarks found are float64
    torch.manual_seed(0)
    new, trained = CariGeoGAN(4).fit_shapes(photos, caricatures), CariGeoGAN(4, weights=str(path))
    cycle = []
    for network in (new, trained):
        with torch.no_grad():
            codes = network.photo.encode(photos), network.caricature.encode(caricatures)
            cycle.append(float(network.generator_loss(network.translate(*codes)).cycle))
    assert cycle[1] < 0.8 * cycle[0]
    shapes = trained.shapes(photos)
    assert shapes.isfinite().all()
    assert trained.fit(photos, photos).evaluate(shapes).sub(photos).abs().max() < 1e-3


def test_mirrored_pairs_have_mirrored_fields() -> None:
    data = pairs()
    field, mirrored = artists_displacement(data, 5), artists_displacement(mirror_pairs(data), 5)
    expected = field.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    # At the border, the anchors at the crop's edges lie a pixel aside in the mirror.
    inside = (..., slice(1, 4), slice(1, 4))
    assert float(expected[inside].abs().max()) > 0.02
    torch.testing.assert_close(mirrored[inside], expected[inside], atol=2e-3, rtol=0)
