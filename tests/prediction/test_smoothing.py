import math

import numpy as np
import pytest

from prediction.smoothing import OneEuro, Smoother, speed_unit

# The PyPI package OneEuroFilter 0.2.1 (its authors' own), OneEuroFilter(30, mincutoff=0.8, beta=0.05, dcutoff=1.2).
TIMES = [1.054, 1.127, 1.191, 1.217, 1.248, 1.319, 1.329, 1.397, 1.462, 1.505, 1.536, 1.566]
VALUES = [0.32, -2.48, -2.56, -0.48, -4.51, -5.88, -11.59, -6.45, -2.98, 5.31, 10.51, 20.33]
PUBLISHED = [
    *(0.32, -0.812558613, -1.522974675, -1.348853685, -2.270182895, -4.188006093),
    *(-5.961164848, -6.260819695, -4.81844045, -0.423732049, 5.372358043, 14.959257555),
]


def reference(times: list[float], values: list[float], min_cutoff: float, beta: float, d_cutoff: float) -> list[float]:
    """Algorithm 1 and equations 2 to 4 of the paper, for one number at a time."""

    def alpha(rate: float, cutoff: float) -> float:
        tau = 1.0 / (2 * math.pi * cutoff)
        return 1.0 / (1.0 + tau * rate)

    hat, d_hat, out = values[0], 0.0, [values[0]]
    for i in range(1, len(values)):
        rate = 1.0 / (times[i] - times[i - 1])
        dx = (values[i] - hat) * rate
        a = alpha(rate, d_cutoff)
        d_hat = a * dx + (1.0 - a) * d_hat
        a = alpha(rate, min_cutoff + beta * abs(d_hat))
        hat = a * values[i] + (1.0 - a) * hat
        out.append(hat)
    return out


def smoothed(points: np.ndarray, times: list[float], how: OneEuro, unit: float) -> np.ndarray:
    smoother = Smoother(how)
    return np.stack([smoother(each, time, unit) for each, time in zip(points, times, strict=True)])


def test_equals_the_published_package() -> None:
    points = np.stack([VALUES, np.full(len(VALUES), 5.0)], axis=1)[:, None]
    # Speeds in units of 40 pixels: beta is as many times larger.
    found = smoothed(points, TIMES, OneEuro(0.8, 0.05 * 40, 1.2), 40.0)
    np.testing.assert_allclose(found[:, 0, 0], PUBLISHED, atol=2e-9)
    np.testing.assert_array_equal(found[:, 0, 1], 5.0)


@pytest.mark.parametrize(("min_cutoff", "beta", "d_cutoff"), [(1.0, 0.0, 1.0), (0.3, 4.0, 1.0), (2.0, 0.7, 3.0)])
def test_equals_the_papers_algorithm(min_cutoff: float, beta: float, d_cutoff: float) -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.005, 0.2, 50)).tolist()
    values = np.cumsum(rng.normal(0, 2, (50, 3)), axis=0)
    # On lines in three directions, the vector's speed is the number's.
    angles = np.array([0.0, 0.7, 2.0])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = smoothed(values[:, :, None] * directions, times, OneEuro(min_cutoff, beta, d_cutoff), 20.0)
    for k in range(3):
        expected = reference(times, values[:, k].tolist(), min_cutoff, beta / 20.0, d_cutoff)
        np.testing.assert_allclose(found[:, k], np.array(expected)[:, None] * directions[k], atol=1e-9)


def test_is_the_same_at_any_size_and_turn() -> None:
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.uniform(0.01, 0.1, 20)).tolist()
    points = np.cumsum(rng.normal(0, 3, (20, 68, 2)), axis=0)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    small = smoothed(points, times, OneEuro(), 30.0)
    np.testing.assert_allclose(smoothed(5 * points @ turn, times, OneEuro(), 150.0), 5 * small @ turn, atol=1e-8)


def test_a_frame_that_is_not_later_changes_nothing() -> None:
    smoother, points = Smoother(), np.zeros((68, 2))
    smoother(points, 1.0, 50.0)
    np.testing.assert_array_equal(smoother(points + 9, 1.0, 50.0), points)
    np.testing.assert_array_equal(smoother(points + 9, 0.5, 50.0), points)
    assert (smoother(points + 9, 1.1, 50.0) > 0).all()


def test_a_profiles_unit_does_not_vanish() -> None:
    assert speed_unit(60.0, np.array([0, 0, 90.0, 100.0])) == 60.0
    assert speed_unit(2.0, np.array([0, 0, 60.0, 100.0])) == 25.0


@pytest.mark.parametrize("name", ["min_cutoff", "beta", "speed_cutoff"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_refuses_numbers_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: found"):
        OneEuro(**{name: value})
