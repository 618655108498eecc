import numpy as np
import torch
from scipy.ndimage import map_coordinates

from lightning_modules.landmarkers.patches import patch_boxes, sample_patches


def test_a_box_is_centred_on_its_landmark_and_cut_at_the_border() -> None:
    lower, extent = patch_boxes(torch.tensor([[[0.5, 0.5], [0.05, 0.9], [-0.3, 1.2]]]), side=0.25)
    torch.testing.assert_close(lower, torch.tensor([[[0.375, 0.375], [0.0, 0.775], [0.0, 1.0]]]))
    torch.testing.assert_close(extent, torch.tensor([[[0.25, 0.25], [0.175, 0.225], [0.0, 0.0]]]))


def test_samples_equal_scipys_linear_interpolation() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 9, 13, generator=generator)
    lower = torch.rand(2, 5, 2, generator=generator) * 0.5
    extent = torch.rand(2, 5, 2, generator=generator) * 0.5
    patches = sample_patches(features, lower, extent, size=4)
    assert patches.shape == (2, 5, 3, 4, 4)
    steps = np.linspace(0, 1, 4)
    for b in range(2):
        for n in range(5):
            x = (lower[b, n, 0].item() + extent[b, n, 0].item() * steps) * 12
            y = (lower[b, n, 1].item() + extent[b, n, 1].item() * steps) * 8
            grid = np.stack(np.meshgrid(y, x, indexing="ij"))
            for c in range(3):
                expected = map_coordinates(features[b, c].numpy(), grid, order=1)
                np.testing.assert_allclose(patches[b, n, c].numpy(), expected, atol=1e-5)


def test_samples_carry_gradients_to_the_features() -> None:
    features = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    lower = torch.tensor([[[0.11, 0.23]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: sample_patches(f, lower, lower + 0.3, 3), (features,))
