"""What is drawn, read from the panels: positions in pixels of the crop, colours of a field, folds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

from callbacks.drawing import draw_gradients, draw_image, draw_landmark_shift, draw_landmarks, page, save_images
from callbacks.field_drawing import draw_arrows, draw_deformed_grid, draw_displacement, shade_folds
from datamodules.ibug68 import CLOSED_PARTS, PARTS
from lightning_modules.warping import folding, pixel_grid
from tests.lightning_modules.warping.layouts import mean_face

SIZE = 64


@pytest.fixture
def panel() -> Axes:
    return page(1, 1, ["title"])[1][0][0]


def shifted(x: float, y: float) -> Tensor:
    """A field that takes everything ``x`` pixels to the right and ``y`` down."""
    return pixel_grid(SIZE) + torch.tensor([x, y]) / SIZE


def mirrored_band(start: int = 20, end: int = 40) -> Tensor:
    """The identity, but columns ``start`` to ``end`` come in reverse order: the field folds over there."""
    field = pixel_grid(SIZE)
    field[:, start:end] = field[:, start:end].flip(1)
    return field


def frame(panel: Axes) -> tuple[float, ...]:
    return (*panel.get_xlim(), *panel.get_ylim())


def test_a_page_of_images_is_written(tmp_path: Path) -> None:
    images = torch.rand(3, 3, SIZE, SIZE)
    save_images(tmp_path / "page.png", [list(images[:2]), list(images[1:])], ["one", "two"])
    save_images(tmp_path / "noted.png", [list(images)], ["one", "two", "three"], "SYNTHETIC")
    plain, noted = (np.asarray(Image.open(tmp_path / name)) for name in ("page.png", "noted.png"))
    assert min(plain.shape[:2]) >= 400, "two panels of two inches"
    assert noted.shape[1] > plain.shape[1]
    with pytest.raises(ValueError, match="1 titles for 1 rows of 2 panels"):
        page(1, 2, ["one"])


def test_an_image_fills_its_panel(panel: Axes) -> None:
    image = torch.rand(3, SIZE, SIZE) * 1.5 - 0.2
    draw_image(panel, image)
    shown = panel.images[0].get_array()
    np.testing.assert_array_equal(shown, (image.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy())
    assert frame(panel) == (-0.5, SIZE - 0.5, SIZE - 0.5, -0.5), "pixel centres at integers, y down"


def test_landmarks_lie_at_their_pixels_and_parts_are_joined(panel: Axes) -> None:
    points = mean_face()
    draw_landmarks(panel, points, SIZE)
    drawn = np.asarray(panel.lines[-1].get_xydata())
    strokes = np.split(drawn, np.flatnonzero(np.isnan(drawn[:, 0])))
    for stroke, (name, part) in zip(strokes, PARTS.items(), strict=False):
        expected = [*part, part[0]] if name in CLOSED_PARTS else [*part]
        np.testing.assert_allclose(stroke[~np.isnan(stroke[:, 0])], points[expected] * SIZE)


def test_a_shift_of_landmarks_joins_before_and_after(panel: Axes) -> None:
    before = mean_face()
    after = before - torch.tensor([0.1, 0.0])
    after[3] = torch.nan
    draw_landmark_shift(panel, before, after, SIZE)
    known = [i for i in range(68) if i != 3]
    ends = [np.asarray(line.get_xydata()) for line in panel.lines[-2:]]
    np.testing.assert_allclose(ends[0], before[known] * SIZE)
    np.testing.assert_allclose(ends[1], after[known] * SIZE)


def test_missing_and_far_off_landmarks_are_drawn_without_harm(panel: Axes) -> None:
    points = mean_face().clone()
    points[3], points[40], points[10] = torch.nan, torch.inf, 1e20
    draw_landmarks(panel, points, SIZE)
    draw_landmarks(panel, torch.full((68, 2), torch.nan), SIZE)
    panel.figure.canvas.draw()
    with pytest.raises(ValueError, match=r"\(1, 68, 2\)"):
        draw_landmarks(panel, torch.zeros(1, 68, 2), SIZE)


def test_gradients_share_one_scale() -> None:
    gradients = torch.rand(2, 2, 20, 20)
    for signed in (False, True):
        panels = page(1, 2, ["a", "b"])[1][0]
        draw_gradients(panels, gradients - (0.5 if signed else 0))
        scales = {panel.images[0].get_clim() for panel in panels}
        ((low, high),) = scales
        assert low == (-high if signed else 0)


def test_the_grid_goes_where_the_field_takes_its_lines(panel: Axes) -> None:
    draw_deformed_grid(panel, shifted(4, 0), 2 * SIZE, lines=4)
    segments = panel.collections[-1].get_segments()  # type: ignore[attr-defined]
    # Pixel 4 of 64 is an eighth of the side: pixel 8 of a photo of 128.
    np.testing.assert_allclose([s[0, 0] for s in segments if np.ptp(s[:, 0]) < 1e-3], [8, 40, 72, 104, 134], atol=1e-4)
    assert frame(panel) == (-0.5, 2 * SIZE - 0.5, 2 * SIZE - 0.5, -0.5)


@pytest.mark.parametrize("field", [mirrored_band(), pixel_grid(SIZE)], ids=["folded", "identity"])
def test_folded_cells_are_shaded(panel: Axes, field: Tensor) -> None:
    draw_deformed_grid(panel, field, SIZE)
    shade_folds(panel, field)
    cells = len(panel.collections[0].get_paths())
    assert cells == round(float(folding(field[None])) * (SIZE - 1) ** 2)
    shaded = panel.images[0].get_array()
    assert np.ma.count(shaded) == cells


def test_arrows_point_where_the_field_takes_their_place(panel: Axes) -> None:
    draw_arrows(panel, shifted(10, -3), arrows=1)
    (arrow,) = panel.collections
    found: Any = arrow
    np.testing.assert_allclose([found.X[0], found.Y[0], found.U[0], found.V[0]], [32, 32, 10, -3], atol=1e-4)


def test_colours_are_those_of_optical_flow() -> None:
    """Hues of the four directions as in the Middlebury evaluation's chart (Baker et al. 2007, figure 1)."""
    hues = {(10, 0): (255, 0, 0), (0, 10): (255, 229, 0), (-10, 0): (0, 209, 255), (0, -10): (88, 0, 255)}
    for (x, y), expected in hues.items():
        panel = page(1, 1, ["title"])[1][0][0]
        assert draw_displacement(panel, shifted(x, y)) * SIZE == pytest.approx(10, rel=1e-3)
        colours = np.asarray(panel.images[0].get_array())
        np.testing.assert_allclose(colours[5, 5].astype(int), expected, atol=50)
        assert (colours == colours[0, 0]).all()
    draw_displacement(panel, pixel_grid(SIZE))
    assert np.asarray(panel.images[-1].get_array()).min() == 255, "no displacement is white"


@pytest.mark.parametrize("draw", [lambda p, f: draw_deformed_grid(p, f, SIZE), draw_arrows, draw_displacement])
def test_fields_that_are_not_finite_are_drawn_and_others_refused(
    panel: Axes, draw: Callable[[Axes, Tensor], object]
) -> None:
    field = pixel_grid(SIZE)
    field[3, 3], field[5, 5], field[7, 7] = torch.nan, torch.inf, 1e20
    draw(panel, field)
    panel.figure.canvas.draw()
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 2\); expected \(S, S, 2\)"):
        draw(panel, torch.zeros(1, 8, 8, 2))
