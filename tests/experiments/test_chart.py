"""Charts: round ticks, and ink where the numbers say."""

import numpy as np
import pytest

from experiments.chart import COLOURS, HEIGHT, SHADE, WIDTH, Line, Panel, chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (0.4, 9.7, [2, 4, 6, 8]),
        (9.81, 10.94, [10.0, 10.2, 10.4, 10.6, 10.8]),
        (0, 300, [0, 50, 100, 150, 200, 250, 300]),
        (-0.1, 0.1, [-0.1, -0.05, 0.0, 0.05, 0.1]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def where(page: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of a colour's pixels."""
    return np.argwhere((page == colour).all(axis=2))


def test_points_lie_where_their_values_say() -> None:
    """Two lines over the same axes: pixels are a linear function of values, up is more."""
    lines = [Line("a", [(0, 1.0), (10, 1.0)]), Line("b", [(0, 3.0), (10, 2.0)])]
    page = chart([Panel("title", lines)], "x", "y")[:HEIGHT]
    flat, falling = (where(page, colour) for colour in COLOURS[:2])
    assert np.ptp(flat[:, 0]) <= 12  # a marker's height
    left, right = flat[:, 1].min() + 5, flat[:, 1].max() - 5
    level = [float(np.mean(falling[np.abs(falling[:, 1] - x) <= 1, 0])) for x in (left, (left + right) / 2, right)]
    one = float(flat[:, 0].mean())
    assert (one - level[1]) / (one - level[0]) == pytest.approx(1.5 / 2, abs=0.01)
    assert (one - level[2]) / (one - level[0]) == pytest.approx(1 / 2, abs=0.01)


def test_shaded_stretches() -> None:
    line = Line("a", [(0, 1.0), (10, 2.0)])
    page = chart([Panel("title", [line], [(2, 4)])], "x", "y")
    columns = np.flatnonzero((page == SHADE).all(axis=2).sum(axis=0) > HEIGHT / 2)  # letters' edges have it too
    axis = where(page, COLOURS[0])[:, 1]
    left, right = axis.min() + 5, axis.max() - 5
    assert (columns.min() - left) / (right - left) == pytest.approx(0.2, abs=0.01)
    assert (columns.max() - left) / (right - left) == pytest.approx(0.4, abs=0.01)


def test_panels_share_the_legends_colours_and_single_points_are_drawn() -> None:
    first, second = Line("a", [(1, 1.0)]), Line("b", [(1, 5.0)])
    page = chart([Panel("1", [first]), Panel("2", [second]), Panel("3", [second, first])], "x", "y", ["a note"])
    assert page.shape[1] == 2 * WIDTH
    assert page.shape[0] > 2 * HEIGHT
    a, b = (where(page[: 2 * HEIGHT], colour) for colour in COLOURS[:2])
    assert (a[a[:, 0] < HEIGHT, 1] < WIDTH).all()  # the first line is not in the second panel
    assert (b[b[:, 0] < HEIGHT, 1] > WIDTH).all()
    legend = page[2 * HEIGHT :]
    assert where(legend, COLOURS[0])[:, 0].mean() < where(legend, COLOURS[1])[:, 0].mean()
