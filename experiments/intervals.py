"""How sure a mean over faces is, by the bootstrap (Efron, Tibshirani: "An Introduction to the Bootstrap", 1993).

And how surely it is not 0, by the permutation test of the same book.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000


def bootstrap_interval(
    values: Sequence[float] | npt.NDArray[Any], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a mean: percentiles of the means of resampled values (chapter 13).

    Args:
        values: one for each face, shape ``(N,)``; or for each of S seeds and face, shape ``(S, N)``: then seeds are
            resampled as well, and each resample takes the same faces of all its seeds.
        resamples: how many.
        seed: of the draws, which are the same each time.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    generator = np.random.default_rng(seed)
    of_seeds = generator.integers(table.shape[0], size=(resamples, table.shape[0]))
    shares = (of_seeds[:, :, None] == np.arange(table.shape[0])).mean(1)
    faces = generator.integers(table.shape[1], size=(resamples, table.shape[1]))
    means = np.sum([share * row[faces].mean(1) for row, share in zip(table, shares.T, strict=True)], axis=0)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_p(differences: npt.NDArray[Any], resamples: int = RESAMPLES - 1) -> float:
    """Two-sided p of a mean difference of 0, by the paired permutation test (chapter 15): signs are flipped.

    Args:
        differences: one for each face, shape ``(N,)``; or for each of S seeds and face, shape ``(S, N)``: then of each
            face's mean, for its errors under two seeds are not independent.
        resamples: how many sets of signs; all there are, where those are fewer.
    """
    # Takes a second to import, which the commands that want intervals alone need not wait.
    from scipy.stats import permutation_test

    of_faces = np.atleast_2d(np.asarray(differences, dtype=np.float64)).mean(0)
    if len(of_faces) < 2:
        return 1.0  # its other sign is as far from 0
    found = permutation_test(
        (of_faces,),
        lambda values, axis: values.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for how many they are, by Holm's step-down ("A Simple Sequentially Rejective Multiple Test
    Procedure", 1979): each holds with the probability of any false one below it.
    """
    corrected = np.empty(len(values))
    largest = 0.0
    for rank, place in enumerate(np.argsort(values)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return [float(value) for value in corrected]
