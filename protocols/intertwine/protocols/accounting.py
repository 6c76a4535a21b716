"""Privacy accounting for the discrete Gaussian mechanism.

A release adds N_Z(0, sigma^2) to every coordinate of an integer vector whose L2 sensitivity is `norm`. It
satisfies rho-zCDP in any dimension with rho = norm^2 / (2 sigma^2) (Canonne, Kamath and Steinke 2020,
theorem 14), and rho adds up over releases. No amplification by sampling is ever claimed here: every lot
is the full data set.

The noise is sampled from a table of finite precision. If eta bounds the total variation distance of
all the noise from the ideal one, (epsilon, delta) becomes (epsilon, delta + (1 + e^epsilon) eta).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from intertwine.protocols.errors import InputError


class Adjacency(StrEnum):
    """Which pairs of data sets count as neighbours."""

    ZERO_OUT = "zero-out"


class Assurance(StrEnum):
    """How a figure is known. Never mix them up: only the first two rest on a proof."""

    PROVEN_PARTICIPANT = "proven-participant"
    PROVEN_RECORD = "proven-record"
    ATTESTED_RECORD = "attested-record"


@dataclass(frozen=True)
class Guarantee:
    """(epsilon, delta) under zero-out adjacency, and what finite precision adds to delta.

    epsilon: at least 0; infinite if a release was invalid.
    delta: the chosen failure probability of the ideal mechanism.
    precision_delta: (1 + e^epsilon) eta, at most 1; to be added to delta. Near 1 the figure protects nothing.
    """

    epsilon: float
    delta: float
    precision_delta: float


def release_rho(norm: int, sigma: int) -> float:
    """The zCDP of one release with L2 sensitivity `norm`, both in integer units."""
    if norm <= 0 or sigma <= 0:
        raise InputError("The norm bound and sigma of a release must be positive.")
    return norm * norm / (2 * sigma * sigma)


def epsilon(rho: float, delta: float) -> float:
    """The smallest epsilon that rho-zCDP gives at `delta`.

    Minimises alpha rho + log(1 - 1/alpha) - log(delta alpha) / (alpha - 1) over alpha > 1 (Canonne, Kamath
    and Steinke 2020, proposition 12). Any alpha gives a valid bound; the minimum is found to 1e-9.
    """
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta}; it must lie strictly between 0 and 1.")
    if rho < 0:
        raise InputError("rho must not be negative.")
    if rho == 0:
        return 0.0
    if math.isinf(rho):
        return math.inf

    def bound(log_order: float) -> float:
        excess = math.exp(log_order)  # alpha - 1
        return (1 + excess) * rho + math.log(excess / (1 + excess)) - math.log(delta * (1 + excess)) / excess

    return max(0.0, _minimum(bound, -20.0, 40.0))


def guarantee(rho: float, delta: float, eta: float) -> Guarantee:
    """The guarantee of releases with zCDP `rho` whose noise is within `eta` of the ideal one."""
    value = epsilon(rho, delta)
    slack = min(1.0, (1 + math.exp(min(value, 700.0))) * eta) if eta else 0.0
    return Guarantee(value, delta, slack)


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search of a unimodal function."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = function(a), function(b)
    while high - low > 1e-9:
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = function(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = function(b)
    return min(fa, fb)
