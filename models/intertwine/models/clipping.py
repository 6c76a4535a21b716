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


def quantize(vectors: NDArray[np.float64], norm: float, bound: int) -> NDArray[np.int64]:
    """Clip each row of `vectors`, shape (n, d), to L2 norm `norm`, which becomes `bound` in integers.

    No integer row is longer than `bound`. Rounding is to nearest: a retry gives the same integers, and its
    error, at most half a unit a coordinate, is far below the noise. A row that rounding pushed over the
    bound is shrunk and rounded anew. A row that is not finite counts as zero: to refuse it would tell that
    such a record is there.
    """
    finite = np.isfinite(vectors).all(axis=1, keepdims=True)
    scaled = np.where(finite, vectors, 0.0) * (bound / norm)
    scaled *= np.minimum(1.0, bound / np.maximum(np.linalg.norm(scaled, axis=1), bound))[:, None]
    rounded = np.rint(scaled).astype(np.int64)
    for _ in range(_SHRINKS):
        norms = np.einsum("nd,nd->n", rounded, rounded)
        over = np.flatnonzero(norms > bound * bound)
        if not over.size:
            return rounded
        scaled[over] *= ((bound - _SHORT) / np.sqrt(norms[over]))[:, None]
        rounded[over] = np.rint(scaled[over]).astype(np.int64)
    rounded[over] = np.trunc(scaled[over]).astype(np.int64)
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
