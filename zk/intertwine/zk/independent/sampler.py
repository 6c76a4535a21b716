"""The discrete Gaussian's threshold table and the public bits (`ARGUMENT.md` section 5).

The table is computed with integers alone: every quantity is an interval of multiples of 2^-256 that contains
the exact value, and a threshold counts only if both ends round to the same integer.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import factorial
from typing import TypeAlias

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.domain import pages_of

PRECISION = 256
# Weights below 2^-TAIL of the largest only enter the normalisation, through a bound of their sum.
TAIL = 128

Interval: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Sampler:
    """How noise of one σ is drawn: z = Σ step_l·z_l, each z_l of standard deviation `level_sigma`.

    bits: B, how many bits decide one z_l.
    steps: the factor of each level, (1,) or (1, k).
    """

    level_sigma: int
    bits: int
    steps: tuple[int, ...]


SAMPLERS = {
    50: Sampler(50, 61, (1,)),
    100: Sampler(100, 62, (1,)),
    200: Sampler(200, 63, (1,)),
    400: Sampler(400, 64, (1,)),
    2049: Sampler(64, 62, (1, 32)),
    5001: Sampler(100, 62, (1, 50)),
    20001: Sampler(200, 63, (1, 100)),
}


@lru_cache
def thresholds(sigma: int, bits: int) -> tuple[tuple[int, int, int], ...]:
    """Rows (m, T(m), T(m+1)) of `threshold`, T(m) = round(2^(bits−1)·P(|z| < m)) for N_Z(0, sigma²).

    VerificationError `threshold_table` if the precision did not decide a rounding.
    """
    weights = _weights(sigma)
    below: Interval = (0, 0)
    cumulative = [below]
    for index, weight in enumerate(weights):
        factor = 2 if index else 1
        below = below[0] + factor * weight[0], below[1] + factor * weight[1]
        cumulative.append(below)
    # Consecutive weights beyond the last shrink at least by e^(−1/sigma): a geometric series bounds the tail.
    total = below[0], below[1] + 2 * (sigma + 1) * weights[-1][1]
    table = [_rounded(part, total, bits - 1) for part in cumulative]
    return tuple((size, low, high) for size, (low, high) in enumerate(pairwise(table)) if low < high)


def public_bits(beacon: bytes, slot: bytes, purpose: bytes, level: int, page: int, count: int) -> bytes:
    """The stream of `count` bytes from which one page's public bits are cut."""
    seed = b"intertwine/beacon-bits/1" + beacon + slot + purpose + bytes([level]) + page.to_bytes(4, "little")
    return hashlib.shake_256(seed).digest(count)


def noise_bits(beacon: bytes, slot: bytes, sampler: Sampler, update: Sequence[int]) -> list[list[list[int]]]:
    """b as [page][level][row], for the entries that each page of the update holds."""
    mask = (1 << sampler.bits) - 1
    return [
        [
            [
                word & mask
                for word in struct.unpack(
                    f"<{len(entries)}Q",
                    public_bits(beacon, slot, b"release-noise", level, page, 8 * len(entries)),
                )
            ]
            for level in range(len(sampler.steps))
        ]
        for page, entries in enumerate(pages_of(update))
    ]


def lot_bits(beacon: bytes, slot: bytes, page: int, rows: int) -> list[int]:
    """The low 11 bits of one word of 2 bytes for each record of a dataset's page."""
    stream = public_bits(beacon, slot, b"lot", 0, page, 2 * rows)
    return [word % 2048 for word in struct.unpack(f"<{rows}H", stream)]


def _weights(sigma: int) -> list[Interval]:
    """exp(−m²/(2·sigma²)) for m = 0, 1, … until they are below 2^-TAIL, which is far beyond m = sigma."""
    first = _exponential(2 * sigma * sigma)
    ratio, growth = first, _times(first, first)
    weights = [(1 << PRECISION, 1 << PRECISION)]
    while weights[-1][1] >> (PRECISION - TAIL):
        weights.append(_times(weights[-1], ratio))
        ratio = _times(ratio, growth)
    return weights


def _exponential(divisor: int) -> Interval:
    """exp(−1/divisor), divisor ≥ 2, between two consecutive partial sums of its alternating series."""
    terms = 40
    scale = divisor**terms * factorial(terms)
    partial = [0, 0]
    value = 0
    for k in range(terms + 1):
        value += (-1) ** k * scale // (divisor**k * factorial(k))
        partial[k % 2] = value
    upper, lower = partial
    return (lower << PRECISION) // scale, -((-upper << PRECISION) // scale)


def _times(left: Interval, right: Interval) -> Interval:
    """The product of two positive intervals, rounded outwards."""
    return left[0] * right[0] >> PRECISION, -(-left[1] * right[1] >> PRECISION)


def _rounded(part: Interval, total: Interval, bits: int) -> int:
    """round(2^bits·part/total), the same for every value in the intervals."""
    low = ((part[0] << bits + 1) + total[1]) // (2 * total[1])
    high = ((part[1] << bits + 1) + total[0]) // (2 * total[0])
    if low != high:
        raise VerificationError("threshold_table", "a threshold's rounding was not decided.")
    return low
