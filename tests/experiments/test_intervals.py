"""Bootstrap intervals of means."""

import numpy as np
import pytest

from experiments.intervals import bootstrap_interval


def test_it_is_the_normal_interval_of_a_mean_over_many_faces() -> None:
    values = np.random.default_rng(1).exponential(3.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (values.mean() - low, high - values.mean()) == pytest.approx((half, half), rel=0.1)
    assert bootstrap_interval(values) == (low, high), "the same draws each time"


def test_what_does_not_vary_is_sure() -> None:
    assert bootstrap_interval([2.5] * 7) == (2.5, 2.5)


def test_seeds_widen_it() -> None:
    """Faces that agree and seeds that do not: the interval is that of the seeds' mean, of which there are 3."""
    low, high = bootstrap_interval(np.repeat([[1.0], [2.0], [3.0]], 50, axis=1))
    assert (low, high) == (1.0, 3.0)


def test_seeds_with_the_same_errors_are_one() -> None:
    values = np.random.default_rng(2).exponential(3.0, 100)
    low, high = bootstrap_interval(np.stack([values] * 3))
    half = 1.96 * values.std() / 10
    assert (values.mean() - low, high - values.mean()) == pytest.approx((half, half), rel=0.12)
