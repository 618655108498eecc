"""What adversarial methods share: one pass over both kinds of faces, and what they learn of a landmarker beforehand."""

import pytest
import torch

from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.base import evaluating
from lightning_modules.methods.adaptation import Adaptation
from lightning_modules.methods.adaptsegnet import stage_count
from lightning_modules.methods.revgrad import RevGrad, feature_channels
from tests.lightning_modules.landmarkers.training import configured
from tests.lightning_modules.methods.adversaries import TwoStages, pair_batch
from tests.lightning_modules.methods.small import LinearLandmarker

LANDMARKERS = {"slpt": 3, "hrnet": 1, "star": 2, "openpose": 2, "sbr": 2, "spiga": 3, "integral": 1}
"""Stages of the light forms."""


def light(name: str) -> Landmarker:
    overrides = {} if name in ("star", "spiga") else {"pretrained": False}
    return configured(f"{name}.yaml", f"{name}.quick.yaml", image_size=64, **overrides)


@pytest.mark.parametrize("name", LANDMARKERS)
def test_landmarkers_hand_out_their_shared_features(name: str) -> None:
    landmarker = light(name).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = landmarker(images).features, landmarker.features(images)
    torch.testing.assert_close(found, expected)
    assert feature_channels(landmarker) == expected.shape[1]
    assert stage_count(landmarker) == LANDMARKERS[name]


def test_the_loss_counts_photos_alone_and_batch_norm_sees_both() -> None:
    batch = pair_batch(4)
    method = Adaptation(TwoStages()).train()
    output, loss = method.pass_both(batch.source, batch.target.images)
    assert output.stages.shape == (8, 2, 68, 2)
    both = torch.cat([batch.source.images, batch.target.images])
    torch.testing.assert_close(method.landmarker.norm.running_mean, 0.1 * both.mean((0, 2, 3)))
    errors = (output.stages[:4] - batch.source.landmarks[:, None]).norm(dim=-1)
    torch.testing.assert_close(loss, errors.mean())


def test_a_landmarker_is_looked_at_without_a_trace() -> None:
    landmarker = TwoStages().train()
    landmarker.norm.eval()
    before = {name: value.clone() for name, value in landmarker.state_dict().items()}
    assert (feature_channels(landmarker), stage_count(landmarker)) == (8, 2)
    with evaluating(landmarker):
        assert not any(module.training for module in landmarker.modules())
    assert landmarker.training
    assert not landmarker.norm.training
    assert all(torch.equal(value, before[name]) for name, value in landmarker.state_dict().items())
    assert all(parameter.grad is None for parameter in landmarker.parameters())


def test_features_that_forward_does_not_hand_out_are_computed() -> None:
    assert feature_channels(TwoStages(hands_out=False)) == 8
    with pytest.raises(NotImplementedError, match="LinearLandmarker has no features"):
        RevGrad(LinearLandmarker())
