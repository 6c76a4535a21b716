"""Discrete Gaussian noise for experiments, from numpy's generator.

A participant's noise comes from an exact table of thresholds and committed randomness (`zk/ARGUMENT.md`
section 5). This is the same distribution in double precision: the total variation distance from it is
below 1e-11 a coordinate. Its generator is not a secure one; nothing that is released may use it.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.accounting import LARGEST_SINGLE_SIGMA

_DEVIATIONS = 12
"""Where the table ends: beyond lies less than 1e-32 of the probability."""


def sample(sigma: int, dimension: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Noise of deviation `sigma`, shape (dimension,), int64; sigma is one that plans may have.

    Above 400 it is z0 + k z1 of two samplers of deviation 2k, as in `accounting.noise_variance`.
    """
    if sigma <= LARGEST_SINGLE_SIGMA:
        return _level(sigma, dimension, generator)
    step = math.isqrt((sigma - 1) // 2)
    fine, coarse = (_level(2 * step, dimension, generator) for _ in range(2))
    return fine + step * coarse


def _level(sigma: int, dimension: int, generator: np.random.Generator) -> NDArray[np.int64]:
    drawn = np.searchsorted(cumulative(sigma), generator.random(dimension), side="right")
    return drawn.astype(np.int64) - _DEVIATIONS * sigma


@cache
def cumulative(sigma: int) -> NDArray[np.float64]:
    """P(z <= k) for k = -12 sigma, ..., 12 sigma, for z from N_Z(0, sigma^2)."""
    values = np.arange(-_DEVIATIONS * sigma, _DEVIATIONS * sigma + 1, dtype=np.float64)
    sums = np.cumsum(np.exp(-(values**2) / (2.0 * sigma**2)))
    table: NDArray[np.float64] = sums / sums[-1]
    return table
