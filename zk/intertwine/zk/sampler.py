"""The discrete Gaussian sampler: an exact table that turns uniform bits into a sign and a magnitude.

One level for σ ≤ 400; for larger σ the sum z₀ + k·z₁ of two independent levels of deviation σ₁ and k = σ₁/2.

N_Z(0, σ²) gives k the probability exp(-k²/2σ²)/Σ_j exp(-j²/2σ²) (Canonne, Kamath, Steinke, "The Discrete
Gaussian for Differential Privacy", 2020). Of B uniform bits the top one is the sign and the others, t',
select the magnitude: |z| = k iff T_lo(k) ≤ t' < T_hi(k), where T_lo(k) = round(2^(B-1)·P(|z| < k)) and
T_hi(k) = T_lo(k+1). Zero has both signs, so 2^(B-1)·P(z = 0) values of t' stand for it, and twice that
density for every k > 0. Magnitudes whose interval is empty have no row.

All arithmetic is on integers with proven error bounds; no floating-point number decides a threshold.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk.circuit import Table

_LEVELS: dict[int, tuple[int, ...]] = {
    50: (50, 61),
    100: (100, 62),
    200: (200, 63),
    400: (400, 64),
    2049: (64, 62, 32),
    5001: (100, 62, 50),
    20001: (200, 63, 100),
}
"""By σ: σ₁ of every level, B, and for two levels the step k."""

SIGMAS: tuple[int, ...] = tuple(_LEVELS)
"""Standard deviations (in integer steps) that there are samplers for."""

_DIGESTS = {
    50: "e16fc303f24cefd01d0dbd418a088fc0385b245495c26d29be80705fd323f83b",
    64: "3891b2cb0fd1099aabbcfc27e7f6d76c69c137fbb22182dc3f926351beb31062",
    100: "5b357a8ad446e3bb764b867762efaeedb8775fe366b8350c5f4038d4e81386d6",
    200: "a9d328db41746e897f6f7a76893a16069c3e578e9e64d3cca1f86f79bf807710",
    400: "fabde9de908c00784acd9db7dd7e7ce844bb10de6ddc14582a680a10808d9db2",
}
_TAG = 1
_PRECISION = 512
_ERROR = 1 << 140
"""Of a ratio of sums of weights, in units of 2^-512 in the numerator: 2^14 two-sided weights err by less than
2^53 units together, and the tail left out is below 2^128·σ² < 2^137 for numerator and denominator each."""


_CONVOLUTION = 2.0**-112
"""Bound on what is left of k's lattice in z₀ + k·z₁, relative to N_Z: 2·exp(-8π²k²/(1+k²)), k ≥ 32."""


@dataclass(frozen=True)
class Sampler:
    """The sampler of one σ: z = Σ steps[l]·z_l over its levels.

    variance: of z; bits: B, of the uniform numbers of each level; steps: one factor a level; table: rows
    (|z_l|, T_lo, T_hi).
    """

    sigma: int
    variance: int
    bits: int
    steps: tuple[int, ...]
    table: Table

    def signs_and_magnitudes(
        self, uniform: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Sign bit, t' and index of the table row of each B-bit value of one level."""
        signs = uniform >> np.uint64(self.bits - 1)
        remainders = uniform & np.uint64((1 << (self.bits - 1)) - 1)
        upper = np.array([row[2] for row in self.table.rows], dtype=np.uint64)
        return (
            signs.astype(np.int64),
            remainders.astype(np.int64),
            np.searchsorted(upper, remainders, side="right").astype(np.int64),
        )

    def sample(self, uniform: NDArray[np.uint64]) -> NDArray[np.int64]:
        """z, shape (n,), for B-bit values of shape (levels, n)."""
        magnitudes = np.array([row[0] for row in self.table.rows], dtype=np.int64)
        total = np.zeros(uniform.shape[1], dtype=np.int64)
        for step, level in zip(self.steps, uniform, strict=True):
            signs, _, rows = self.signs_and_magnitudes(level)
            total += step * (1 - 2 * signs) * magnitudes[rows]
        return total


@cache
def sampler(sigma: int) -> Sampler:
    """The sampler for σ; InputError if there is none, VerificationError `threshold_table` if it is wrong."""
    if sigma not in _LEVELS:
        raise InputError(f"sigma is {sigma}.", f"Choose one of {', '.join(map(str, SIGMAS))}.")
    base, bits, *step = _LEVELS[sigma]
    table = Table("threshold", _TAG, threshold_rows(base, bits))
    if table.digest != _DIGESTS[base]:
        raise VerificationError(
            "threshold_table", f"the table for sigma {sigma} is not the pinned one.", "Reinstall intertwine."
        )
    steps = (1, *step)
    return Sampler(sigma, base * base * sum(k * k for k in steps), bits, steps, table)


def threshold_rows(sigma: int, bits: int) -> tuple[tuple[int, int, int], ...]:
    """Rows (|z|, T_lo, T_hi) with T_lo < T_hi, covering [0, 2^(bits-1))."""
    weights = _weights(sigma)
    total = weights[0] + 2 * sum(weights[1:])
    thresholds, below = [0], 0
    for magnitude, weight in enumerate(weights):
        below += weight if magnitude == 0 else 2 * weight
        thresholds.append(_rounded_ratio(below, total, bits - 1))
    return tuple(
        (magnitude, low, high) for magnitude, (low, high) in enumerate(pairwise(thresholds)) if low < high
    )


@cache
def total_variation(sigma: int) -> float:
    """Upper bound on the distance between the sampler's distribution and N_Z(0, variance), per coordinate.

    Each level's distance adds up; two levels add what the convolution leaves (ARGUMENT.md section 8).
    """
    base, bits, *step = _LEVELS[sampler(sigma).sigma]
    table = table_variation(base, bits)
    return 2 * table + _CONVOLUTION if step else table


@cache
def table_variation(sigma: int, bits: int) -> float:
    """Upper bound on the distance between a table's distribution and N_Z(0, σ²).

    Half the sum of |table probability - true probability| over all magnitudes, from the exact table, with all
    approximation errors added on the unsafe side and the result rounded up.
    """
    weights = _weights(sigma)
    total = weights[0] + 2 * sum(weights[1:])
    widths = {magnitude: high - low for magnitude, low, high in threshold_rows(sigma, bits)}
    scale = bits - 1
    distance = 0
    for magnitude, weight in enumerate(weights):
        mass = weight if magnitude == 0 else 2 * weight
        distance += abs(widths.get(magnitude, 0) * total - (mass << scale))
    distance += _ERROR << scale
    bound = -(-distance * 2**1000 // (total << (scale + 1)))
    return float(np.nextafter(bound / 2**1000, 1.0))


def _weights(sigma: int) -> list[int]:
    """Approximations of 2^512·exp(-k²/2σ²), k = 0, 1, …, until one is below 2^128.

    q = exp(-1/2σ²) comes from its alternating series (43 terms at most, each rounded down) and the others
    from w_(k+1) = w_k·q^(2k+1). Factors are at most 1, so errors only add up: below 2^7 units for q, k·2^10
    for q^(2k+1), k²·2^10 < 2^38 for w_k.
    """
    one = 1 << _PRECISION
    term, base, index = one, one, 0
    while term:
        index += 1
        term //= 2 * sigma * sigma * index
        base += -term if index % 2 else term
    square = base * base >> _PRECISION
    weights, step = [one], base
    while weights[-1] >> 128:
        weights.append(weights[-1] * step >> _PRECISION)
        step = step * square >> _PRECISION
    return weights


def _rounded_ratio(numerator: int, denominator: int, bits: int) -> int:
    """round(2^bits·numerator/denominator); VerificationError if the sums' errors could change it."""
    low, high = (
        (2 * ((numerator + error) << bits) + denominator) // (2 * denominator) for error in (-_ERROR, _ERROR)
    )
    if low != high:
        raise VerificationError("threshold_table", "a threshold cannot be rounded with certainty.")
    return low
