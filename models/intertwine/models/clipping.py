"""Clipping in integers: what turns one record's real vector into a bounded part of an exact sum.

The sensitivity of an update is claimed, or proven, in integers, so it must hold in integers: a real vector
clipped to the norm bound can exceed it once rounded. Every vector that leaves `quantize` meets the bound
exactly.
"""

import numpy as np
from numpy.typing import NDArray

from intertwine.models.task import Update

_SHRINKS = 8
"""Attempts to round to nearest under the bound before rounding toward zero, which always meets it."""
_SHORT = 0.25
"""How far below the bound an attempt aims, in units: rounding would often undo a smaller change."""
CACHE = 1 << 15
"""Speed only: numbers in work at a time, 256 kB of float64, so that every pass finds them in the cache."""


def quantize(vectors: NDArray[np.float64], norm: float, bound: int) -> NDArray[np.int64]:
    """Clip each row of `vectors`, shape (n, d), to L2 norm `norm`, which becomes `bound` in integers.

    No integer row is longer than `bound`. Rounding is to nearest: a retry gives the same integers, and its
    error, at most half a unit a coordinate, is far below the noise. A row that rounding pushed over the
    bound is shrunk and rounded anew. A row that is not finite counts as zero: to refuse it would tell that
    such a record is there.
    """
    return _whole(vectors, norm, bound).astype(np.int64)


def quantized_sum(vectors: NDArray[np.float64], norm: float, bound: int) -> Update:
    """The sum of the rows of `quantize`, shape (d,), a few rows at a time."""
    total = np.zeros(vectors.shape[1])
    rows = max(1, CACHE // vectors.shape[1])
    for start in range(0, len(vectors), rows):
        total += _whole(vectors[start : start + rows], norm, bound).sum(axis=0)
    return total.astype(np.int64)


def _whole(vectors: NDArray[np.float64], norm: float, bound: int) -> NDArray[np.float64]:
    """`quantize` in whole float64 numbers: exact, as are sums and norms of them, up to 2^53."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = vectors * (bound / norm)
        norms = np.sqrt(np.vecdot(scaled, scaled))
    scaled[~np.isfinite(norms)] = 0.0
    scaled *= (bound / np.fmax(norms, bound))[:, None]
    rounded = np.rint(scaled)
    over, part = np.arange(len(rounded)), rounded
    for _ in range(_SHRINKS):
        norms = np.vecdot(part, part)
        still = np.flatnonzero(norms > bound * bound)
        if not still.size:
            return rounded
        over, scaled = over[still], scaled[still]
        scaled *= ((bound - _SHORT) / np.sqrt(norms[still]))[:, None]
        part = rounded[over] = np.rint(scaled)
    rounded[over] = np.trunc(scaled)
    return rounded


def project(total: Update, update_bound: int) -> Update:
    """Project a sum onto the ball of radius `update_bound`; rounding is toward zero, so the bound is exact.

    Projection onto a ball never moves two points apart, so in real numbers the record-level sensitivity
    stays `record_bound`. Rounding afterwards moves each coordinate by less than one: when the bound binds,
    the sensitivity is below record_bound + sqrt(d). When it does not bind nothing changes. A recipe
    therefore chooses `update_bound` so that it binds for no honest participant of the expected size.
    """
    norm_squared = int(total @ total)
    if norm_squared <= update_bound * update_bound:
        return total
    projected: Update = np.trunc(total * (update_bound / np.sqrt(float(norm_squared)))).astype(np.int64)
    # Truncation absorbs the float error of the factor unless every coordinate was integral by chance.
    while int(projected @ projected) > update_bound * update_bound:
        projected -= np.sign(projected)
    return projected
