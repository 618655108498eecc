import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from lightning_modules.landmarkers.patches import (
    _gathered,
    _multiplied,
    _sampled,
    _way_for,
    patch_boxes,
    sample_patches,
)


def test_a_box_is_centred_on_its_landmark_and_cut_at_the_border() -> None:
    lower, extent = patch_boxes(torch.tensor([[[0.5, 0.5], [0.05, 0.9], [-0.3, 1.2]]]), side=0.25)
    torch.testing.assert_close(lower, torch.tensor([[[0.375, 0.375], [0.0, 0.775], [0.0, 1.0]]]))
    torch.testing.assert_close(extent, torch.tensor([[[0.25, 0.25], [0.175, 0.225], [0.0, 0.0]]]))


@pytest.fixture(params=[_gathered, _sampled, _multiplied])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in 32 bits, in an exported network, and on a GPU in half precision."""
    monkeypatch.setattr("lightning_modules.landmarkers.patches._way_for", lambda features: request.param)


@pytest.mark.usefixtures("each_way")
def test_samples_equal_scipys_linear_interpolation() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 9, 13, generator=generator)
    lower = torch.rand(2, 5, 2, generator=generator) * 0.5
    extent = torch.rand(2, 5, 2, generator=generator) * 0.5
    patches = sample_patches(features, lower, extent, size=4)
    assert patches.shape == (2, 5, 4, 4, 3)
    steps = np.linspace(0, 1, 4)
    for b in range(2):
        for n in range(5):
            x = (lower[b, n, 0].item() + extent[b, n, 0].item() * steps) * 12
            y = (lower[b, n, 1].item() + extent[b, n, 1].item() * steps) * 8
            grid = np.stack(np.meshgrid(y, x, indexing="ij"))
            for c in range(3):
                expected = map_coordinates(features[b, c].numpy(), grid, order=1)
                np.testing.assert_allclose(patches[b, n, :, :, c].numpy(), expected, atol=1e-5)


@pytest.mark.usefixtures("each_way")
def test_borders_repeat() -> None:
    features = torch.rand(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    patches = sample_patches(features, torch.tensor([[[-0.5, 0.0]]]), torch.tensor([[[0.5, 2.0]]]), size=2)
    torch.testing.assert_close(patches[0, 0, 0], features[0, :, 0, 0].expand(2, 2))
    torch.testing.assert_close(patches[0, 0, 1], features[0, :, -1, 0].expand(2, 2))


@pytest.mark.usefixtures("each_way")
def test_around_a_place_that_is_not_a_number_samples_are_none() -> None:
    lower = torch.tensor([[[0.2, 0.3], [torch.nan, 0.3]]])
    features = torch.rand(1, 3, 8, 8, requires_grad=True)
    patches = sample_patches(features, lower, torch.full((1, 2, 2), 0.2), 3)
    assert patches[0, 0].isfinite().all()
    assert patches[0, 1].isnan().all()
    patches.sum().backward()


@pytest.mark.usefixtures("each_way")
def test_samples_carry_gradients_to_the_features() -> None:
    features = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    lower = torch.tensor([[[0.11, 0.23]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: sample_patches(f, lower, lower + 0.3, 3), (features,))


def test_an_exported_network_has_samples_of_a_known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.rand(1, 2, 4, 4)
    assert _way_for(features) is _gathered
    assert _way_for(features.bfloat16()) is _gathered, "a CPU multiplies those more slowly"
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    assert _way_for(features) is _sampled
