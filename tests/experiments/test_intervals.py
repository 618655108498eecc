"""Bootstrap intervals of means, and tests of means against 0."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from experiments.intervals import bootstrap_interval, holm, paired_p


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


def test_p_is_the_share_of_signs_with_a_mean_as_far_from_0() -> None:
    values = np.array([[0.3, 0.7, -0.2, 0.9, 0.5, 0.1], [0.5, 0.5, -0.2, 0.7, 0.9, 0.1]])
    faces = values.mean(0)
    means = [np.mean(np.array(signs) * faces) for signs in product((-1, 1), repeat=6)]
    assert paired_p(values) == pytest.approx(np.mean(np.abs(means) >= faces.mean() - 1e-12))


def test_one_face_says_nothing() -> None:
    assert paired_p(np.array([[0.3], [0.4]])) == 1.0


def test_p_of_many_faces_is_that_of_a_t_test() -> None:
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    assert paired_p(values) == pytest.approx(ttest_1samp(values, 0).pvalue, abs=0.01)
    assert paired_p(values) == paired_p(values), "the same draws each time"
    assert paired_p(values + 1) < 0.001


def test_holms_correction() -> None:
    """Worked by hand: the smallest p times 4, the next times 3, …, none below one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
