"""How sure a mean over faces is, by the bootstrap (Efron, Tibshirani: "An Introduction to the Bootstrap", 1993)."""

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
