"""The painterly filters against what they are by definition, on images small enough for loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.augment.painterly import blur, brush, clarity, flatten_colours, ink_lines, match_colours, pencil

GREY = torch.full((1, 3, 24, 24), 0.4, dtype=torch.float64)


def noise(count: int = 2, size: int = 12, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stripe(column: int = 12, size: int = 25) -> Tensor:
    """A dark line, two pixels wide, on light paper."""
    image = torch.full((1, 3, size, size), 0.9, dtype=torch.float64)
    image[..., column : column + 2] = 0.2
    return image


class TestBrush:
    @pytest.mark.parametrize("radius", [1, 3])
    def test_against_loops(self, radius: int) -> None:
        """Four squares with the pixel in a corner each, weighted by their variance to the power of -4."""
        (image,) = noise(1).numpy()
        padded = np.pad(image, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
        expected = np.zeros_like(image)
        for y in range(12):
            for x in range(12):
                corners = [(y + dy, x + dx) for dy in (0, radius) for dx in (0, radius)]
                squares = [padded[:, t : t + radius + 1, s : s + radius + 1] for t, s in corners]
                weights = np.array([(square.var((1, 2)).sum() + 1e-4) ** -4 for square in squares])
                means = np.array([square.mean((1, 2)) for square in squares])
                expected[:, y, x] = weights @ means / weights.sum()
        np.testing.assert_allclose(brush(torch.from_numpy(image)[None], radius)[0].numpy(), expected, atol=1e-9)

    def test_noise_goes_and_edges_stay(self) -> None:
        edge = torch.zeros(1, 3, 24, 24, dtype=torch.float64)
        edge[..., 12:] = 0.8
        noisy = edge + 0.1 * noise(1, 24)
        painted = brush(noisy, 3)
        assert painted[..., 4:9].std() < 0.5 * noisy[..., 4:9].std()
        assert (painted[..., 12] - painted[..., 11]).min() > 0.6
        assert (blur(noisy, 1.5)[..., 12] - blur(noisy, 1.5)[..., 11]).max() < 0.4  # which a blur does not do


def test_a_poster_has_few_colours() -> None:
    found = flatten_colours(noise(), 5)
    assert set(found.unique().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    assert (found - noise()).abs().max() <= 0.125
    torch.testing.assert_close(flatten_colours(found, 5), found)


class TestLines:
    def test_uniform_paper_stays_white(self) -> None:
        torch.testing.assert_close(ink_lines(GREY, 1.0), torch.ones(1, 1, 24, 24, dtype=torch.float64))
        torch.testing.assert_close(pencil(GREY, 2.0), torch.full_like(GREY, 0.75 + 0.25 * 0.4))

    @pytest.mark.parametrize("medium", [lambda x: ink_lines(x, 1.0), lambda x: pencil(x, 2.0)[:, :1]])
    def test_a_line_is_drawn_where_it_is(self, medium: object) -> None:
        drawn = medium(stripe())[0, 0]
        assert drawn[:, 12:14].max() < 0.35
        assert drawn[:, :8].min() > 0.9
        dark = drawn.max() - drawn[12]
        assert float((dark * torch.arange(25)).sum() / dark.sum()) == pytest.approx(12.5, abs=0.05)

    def test_shadows_get_lines_as_lights_do(self) -> None:
        torch.testing.assert_close(ink_lines(0.5 * stripe(), 1.0), ink_lines(stripe(), 1.0))


class TestClarity:
    def test_differences_from_the_blur_are_multiplied(self) -> None:
        image = 0.4 + 0.1 * noise()
        smooth = blur(image, 1.5)
        torch.testing.assert_close(clarity(image, 1.5, 0.5) - smooth, 1.5 * (image - smooth))
        torch.testing.assert_close(clarity(image, 1.5, 0.0), image)


class TestColours:
    def test_mean_and_covariances_diagonal_are_the_others(self) -> None:
        ours, theirs = 0.4 + 0.2 * noise(seed=1), 0.3 + 0.3 * noise(seed=2)
        found = match_colours(ours, theirs)
        axes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
        for image, reference in zip(found.numpy(), theirs.numpy(), strict=True):
            a, b = axes @ image.reshape(3, -1), axes @ reference.reshape(3, -1)
            np.testing.assert_allclose(a.mean(1), b.mean(1))
            np.testing.assert_allclose(a.std(1), b.std(1))

    def test_a_uniform_photo_shows_no_noise(self) -> None:
        found = match_colours(GREY + 1e-5 * noise(1, 24), noise(1, 24, seed=3))
        assert found.isfinite().all()
        assert found.std((-2, -1)).max() < 1e-3


def test_blur_is_a_gaussian() -> None:
    dot = torch.zeros(1, 3, 31, 31, dtype=torch.float64)
    dot[..., 15, 15] = 1
    row = blur(dot, 2.0)[0, 0].sum(0)
    place = torch.arange(31) - 15.0
    assert float((row * place.square()).sum() / row.sum()) == pytest.approx(4.0, rel=0.02)
    assert blur(noise(1, 4), 30.0).shape == (1, 3, 4, 4)
