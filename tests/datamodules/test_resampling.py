"""Views are checked against the image itself: what is cut from them is what is cut from it."""

import numpy as np
import pytest

from datamodules.faces import ByteArray
from datamodules.resampling import Matrix, View, apply_matrix, compose, cut, planes
from datamodules.synthetic import draw_face


@pytest.fixture(scope="module")
def image() -> ByteArray:
    drawn, _ = draw_face("photo", 2, 0, 160)
    return np.ascontiguousarray(drawn[:140])


def turned(centre: tuple[float, float], scale: float, degrees: float, size: int, mirror: bool = False) -> Matrix:
    """About a point of the image, which comes to the middle of the crop."""
    a = np.radians(degrees)
    linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([-1.0 if mirror else 1, 1])
    return np.hstack([linear, (np.full(2, (size - 1) / 2) - linear @ np.array(centre))[:, None]])


def bilinear(image: ByteArray, matrix: Matrix, size: int) -> np.ndarray:
    """The crop by definition: where each of its pixels comes from, the mean of the four around; black outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    v, u = np.mgrid[:size, :size].astype(float)
    x, y = (inverse[k, 0] * u + inverse[k, 1] * v + inverse[k, 2] for k in (0, 1))
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)))
    x, y = np.clip(x + 1, 0, padded.shape[1] - 1.001), np.clip(y + 1, 0, padded.shape[0] - 1.001)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - i)[..., None], (y - j)[..., None]
    upper = padded[j, i] * (1 - fx) + padded[j, i + 1] * fx
    lower = padded[j + 1, i] * (1 - fx) + padded[j + 1, i + 1] * fx
    return upper * (1 - fy) + lower * fy


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("scale", "degrees"), [(0.7, 0), (0.9, 14), (1.6, -20)])
def test_a_crop_is_interpolated_between_the_images_pixels(
    scale: float, degrees: float, mirror: bool, image: ByteArray
) -> None:
    """Of the image, and of a view that is not shrunk."""
    matrix = turned((80, 70), scale, degrees, 48, mirror)
    expected = bilinear(image, matrix, 48)
    view = View.around(image, (80, 70), 150, 1.0)
    assert view.left == 3
    for found in (cut(image, matrix, 48), view.cut(matrix, 48)):
        # OpenCV rounds positions to a thirty-second of a pixel.
        assert np.abs(found - expected).max() < 8
        assert np.abs(found - expected).mean() < 0.6


def test_a_shrunk_view_lies_where_the_image_does() -> None:
    """A bright spot in a large image is found at the same place of both crops, to a twentieth of a pixel."""
    y, x = np.mgrid[:900, :1100]
    spot = (255 * np.exp(-((x - 520) ** 2 + (y - 433) ** 2) / (2 * 30.0**2))).astype(np.uint8)[..., None].repeat(3, 2)
    matrix = turned((500, 450), 0.11, 8, 64)
    view = View.around(spot, (500, 450), 700, 0.11 * 1.5)
    assert max(view.pixels.shape) < 120
    assert view.shows(matrix, 64)
    (expected,) = apply_matrix(matrix, np.array([[520.0, 433.0]]))
    for crop in (cut(spot, matrix, 64), view.cut(matrix, 64)):
        light = crop[..., 0].astype(float)
        v, u = np.mgrid[:64, :64]
        np.testing.assert_allclose(
            [(light * u).sum() / light.sum(), (light * v).sum() / light.sum()], expected, atol=0.05
        )


def test_a_view_shows_what_lies_in_it_and_is_fine_enough(image: ByteArray) -> None:
    view = View.around(image, (80, 70), 60, 1.0)
    assert view.pixels.shape[:2] == (65, 65)  # and a border
    assert not view.whole
    assert view.shows(turned((80, 70), 1.0, 0, 58), 58)
    assert not view.shows(turned((80, 70), 1.0, 0, 70), 70)
    assert not view.shows(turned((80, 70), 1.0, 45, 58), 58)
    assert not view.shows(turned((100, 70), 1.0, 0, 58), 58)
    # Beyond the image's own rim there is nothing to be missed.
    rim = View.around(image, (10, 70), 140, 1.0)
    assert rim.left == 0
    assert rim.shows(turned((10, 70), 1.0, 0, 100), 100)
    # A crop finer than a shrunk view is not made from it; of an unshrunk one there is no finer.
    coarse = View.around(image, (80, 70), 120, 0.5)
    assert coarse.shows(turned((80, 70), 0.45, 0, 32), 32)
    assert not coarse.shows(turned((80, 70), 0.6, 0, 32), 32)
    assert view.shows(turned((80, 70), 3.0, 0, 96), 96)
    assert View.around(image, (80, 70), 900, 1.0).whole


@pytest.mark.parametrize("centre", [(-500.0, 70.0), (80.0, 900.0)])
def test_a_square_beside_the_image_leaves_a_pixel_of_it(centre: tuple[float, float], image: ByteArray) -> None:
    view = View.around(image, centre, 60, 1.0)
    assert min(view.pixels.shape[:2]) >= 1
    assert not view.shows(turned((80, 70), 1.0, 0, 32), 32)


def test_planes_and_maps_are_numpys(image: ByteArray) -> None:
    np.testing.assert_array_equal(planes(image), image.transpose(2, 0, 1))
    outer, inner = turned((3, 4), 0.7, 20, 9), turned((8, 1), 1.3, -5, 30, mirror=True)
    points = np.array([[0.0, 0.0], [5.0, -2.0]])
    np.testing.assert_allclose(
        apply_matrix(compose(outer, inner), points), apply_matrix(outer, apply_matrix(inner, points))
    )
