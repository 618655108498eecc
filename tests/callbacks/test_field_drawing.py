import numpy as np
import pytest
import torch
from torch import Tensor

from callbacks.drawing import RED, enlarge, to_picture
from callbacks.field_drawing import (
    LINE,
    draw_deformed_grid,
    draw_displacement,
    draw_quiver,
    draw_warped,
    longest_displacement,
    shade_folds,
)
from lightning_modules.warping import PolyharmonicSpline, folding, jacobian_determinant, pixel_grid, sampling_to_crop
from tests.lightning_modules.warping.layouts import mean_face, smooth_images

GREY = np.full((64, 64, 3), 128, dtype=np.uint8)


def shifted(x: float, y: float, size: int = 64) -> Tensor:
    """A field that takes everything ``x`` pixels to the right and ``y`` down."""
    return pixel_grid(size) + torch.tensor([x, y]) / size


def mirrored_band(size: int = 64, start: int = 20, end: int = 40) -> Tensor:
    """The identity, but columns ``start`` to ``end`` come in reverse order: the field folds over there."""
    field = pixel_grid(size)
    field[:, start:end] = field[:, start:end].flip(1)
    return field


def has(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 2) -> np.ndarray:
    """Where a picture has a colour."""
    return np.asarray((np.abs(picture.astype(int) - colour) <= tolerance).all(axis=2))


def shade(colour: tuple[int, int, int], ground: int) -> tuple[int, ...]:
    """A colour laid over a grey ground, as much of it as shading has."""
    return tuple(round(0.55 * c + 0.45 * ground) for c in colour)


def test_warped_is_the_photo_at_the_fields_places() -> None:
    photo = smooth_images(1, 64)[0]
    moved = draw_warped(photo, shifted(5, -3))
    np.testing.assert_allclose(moved[3:, :59].astype(int), to_picture(photo)[:61, 5:].astype(int), atol=1)


def test_the_identity_draws_a_straight_grid_and_a_shift_a_shifted_one() -> None:
    face = mean_face()[None].float()
    straight = draw_deformed_grid(PolyharmonicSpline.fit(face, face).grid(128)[0], 16, smallest=128)
    lines = (straight < 128).any(axis=2)
    assert lines[::16].all()
    assert lines[:, ::16].all()
    assert lines[127].all(), "the last pixels end the grid"
    assert not lines[8, 8]
    shift = PolyharmonicSpline.fit(face, face + torch.tensor([4 / 128, 0])).grid(128)[0]
    columns = np.flatnonzero((draw_deformed_grid(shift, 16, smallest=128) < 128).any(axis=2)[8])
    assert columns.tolist() == list(range(4, 128, 16))


def test_the_grid_can_be_drawn_over_a_photo_of_any_size() -> None:
    photo = np.full((192, 192, 3), 128, dtype=np.uint8)
    drawn = draw_deformed_grid(shifted(8, 0), 32, photo)
    assert drawn.shape == photo.shape
    # Pixel 8 of 64 is an eighth of the side: in a photo of 192, its centre is pixel 24.
    assert np.flatnonzero(has(drawn, LINE, 30)[10]).tolist() == [24, 24 + 96]
    assert (drawn[10, 30:90] == 128).all()


def test_folded_cells_of_the_grid_are_red() -> None:
    drawn = draw_deformed_grid(mirrored_band(), 64, GREY)
    red = has(drawn, shade(RED, 128))  # type: ignore[arg-type]
    # The reversed columns cover 20 to 39, three pixels each; no cell elsewhere folds but those that lead back.
    assert red[50:150, 65:110].all()
    assert not red[:, 125:].any()
    assert not has(draw_deformed_grid(pixel_grid(64), 64, GREY), shade(RED, 128)).any()  # type: ignore[arg-type]


def test_arrows_point_where_the_field_takes_their_place() -> None:
    drawn = draw_quiver(shifted(10, 0), 64, GREY)
    ink = (drawn != 128).any(axis=2)
    row, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    # One arrow from pixel (32, 32) to (42, 32); a pixel is three wide, and its middle the second of them.
    assert abs(columns.min() - (32 * 3 + 1)) <= 2
    assert abs(columns.max() - (42 * 3 + 1)) <= 2
    assert row.min() <= 32 * 3 + 1 <= row.max()
    # Its tip is at its end: there it is widest.
    height = ink.sum(axis=0)
    assert height[120:].max() > height[:115].max()
    assert len(draw_quiver(shifted(0, 0), 8)) == 192


def test_colours_are_those_of_optical_flow() -> None:
    """Hues of the four directions as in the Middlebury evaluation's chart (Baker et al. 2007, figure 1)."""
    hues = {(10, 0): (255, 0, 0), (0, 10): (255, 229, 0), (-10, 0): (0, 209, 255), (0, -10): (88, 0, 255)}
    for (x, y), expected in hues.items():
        drawn = draw_displacement(shifted(x, y), legend=False)
        np.testing.assert_allclose(drawn[5, 5].astype(int), expected, atol=50)
        assert (drawn == drawn[0, 0]).all()
    assert (draw_displacement(pixel_grid(64), legend=False) == 255).all()


def test_saturation_is_length_on_the_scale_given() -> None:
    longest = 20 / 64
    faint, full = (draw_displacement(shifted(x, 0), longest, legend=False)[5, 5].astype(int) for x in (10, 20))
    beyond = draw_displacement(shifted(35, 0), longest, legend=False)[5, 5]
    np.testing.assert_allclose(faint, (255 + full) / 2, atol=1)
    np.testing.assert_array_equal(beyond, full)
    assert longest_displacement(shifted(3, 4)) == pytest.approx(5 / 64)


def test_the_legend_is_the_wheel_of_a_field_that_grows_from_its_middle() -> None:
    plain, drawn = (draw_displacement(shifted(9, 0), legend=legend) for legend in (False, True))
    changed = (plain != drawn).any(axis=2)
    y, x = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    assert min(y.min(), x.min()) > 140
    middle_y, middle_x = (y.min() + y.max()) // 2, (x.min() + x.max()) // 2
    assert drawn[middle_y, middle_x].min() > 250, "no displacement is white"
    assert drawn[middle_y, middle_x + 15][0] > drawn[middle_y, middle_x + 15][1:].max() + 80, "right is red"
    assert drawn[middle_y, middle_x - 15][0] < 110, "left is not"


def test_folds_are_shaded_where_the_determinant_is_negative() -> None:
    field = mirrored_band()
    shaded = has(shade_folds(GREY, field), shade(RED, 128))  # type: ignore[arg-type]
    assert shaded.mean() == pytest.approx(float(folding(field[None])), rel=0.04)
    cells = (jacobian_determinant(field[None])[0] < 0).numpy()
    # The cell right of and below pixel (x, y) is centred on the corner that the pixel's block ends with.
    for y, x in ((10, 25), (30, 38), (30, 39), (30, 10), (62, 20)):
        assert shaded[3 * y + 2, 3 * x + 2] == cells[y, x]
    np.testing.assert_array_equal(shade_folds(GREY, pixel_grid(64)), enlarge(GREY))


def test_what_is_no_field_is_refused_and_what_is_not_finite_does_no_harm() -> None:
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 2\); expected \(S, S, 2\)"):
        draw_quiver(torch.zeros(1, 8, 8, 2))
    with pytest.raises(ValueError, match="64 pixels a side; a field of 48"):
        shade_folds(GREY, pixel_grid(48))
    field = pixel_grid(32)
    field[3, 3], field[5, 5], field[7, 7] = torch.nan, torch.inf, 1e20
    for draw in (draw_deformed_grid, draw_quiver, draw_displacement):
        assert draw(field).shape == (192, 192, 3)


def test_a_field_of_grid_sample_can_be_drawn() -> None:
    """Any field will do: torch's own identity, in crop coordinates, gives the straight grid."""
    identity = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 48, 48], align_corners=False)[0]
    field = sampling_to_crop(identity, 48)
    np.testing.assert_array_equal(draw_deformed_grid(field, 12), draw_deformed_grid(pixel_grid(48), 12))
