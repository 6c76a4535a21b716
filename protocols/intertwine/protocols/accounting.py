"""Privacy accounting for the discrete Gaussian mechanism.

A release adds N_Z(0, sigma^2) to every coordinate of an integer vector whose L2 sensitivity is `norm`. It
satisfies rho-zCDP in any dimension with rho = norm^2 / (2 sigma^2) (Canonne, Kamath and Steinke 2020,
theorem 14): its Rényi divergence of every order alpha is at most alpha rho. Divergences add up over
releases.

If the vector is computed from a secret random lot to which every record belongs with probability q,
independently (Poisson sampling), the divergence is smaller: `subsampled_gaussian_rdp`. Only a proof of the
lot justifies that, so only plans whose statement proves one may claim it (`Plan.losses`).

The noise is sampled from a table of finite precision. If eta bounds the total variation distance of
all the noise from the ideal one, (epsilon, delta) becomes (epsilon, delta + (1 + e^epsilon) eta).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from intertwine.protocols.errors import InputError

ORDERS = range(2, 257)
"""The integer orders at which the divergence of sampled releases is computed."""

LARGEST_SINGLE_SIGMA = 400
"""The noise of larger deviations is drawn in two levels."""


class Adjacency(StrEnum):
    """Which pairs of data sets count as neighbours."""

    ZERO_OUT = "zero-out"


class Assurance(StrEnum):
    """How a figure is known. Never mix them up: only the first two rest on a proof."""

    PROVEN_PARTICIPANT = "proven-participant"
    PROVEN_RECORD = "proven-record"
    ATTESTED_RECORD = "attested-record"


@dataclass(frozen=True)
class Loss:
    """What releases may reveal: their Rényi divergence of order alpha is at most alpha rho + curve(alpha).

    rho: the zCDP of the releases without sampling; infinite if one was invalid.
    curve: the divergences of the sampled releases at ORDERS; empty if there are none.
    eta: total variation distance of all the noise from the ideal one.
    """

    rho: float = 0.0
    curve: tuple[float, ...] = ()
    eta: float = 0.0

    def __add__(self, other: "Loss") -> "Loss":
        """Both together (adaptive composition)."""
        if self.curve and other.curve:
            curve = tuple(one + two for one, two in zip(self.curve, other.curve, strict=True))
        else:
            curve = self.curve or other.curve
        return Loss(self.rho + other.rho, curve, self.eta + other.eta)

    def __mul__(self, count: int) -> "Loss":
        """`count` times the same."""
        return Loss(self.rho * count, tuple(value * count for value in self.curve), self.eta * count)


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


def noise_variance(sigma: int) -> int:
    """The exact variance of the noise that is called sigma, in integer units.

    Above 400 the noise is z0 + k z1 of two samplers of deviation 2k, whose variance 4k^2 (1 + k^2) is
    sigma^2 - 1 (`zk/ARGUMENT.md` section 5).
    """
    return sigma * sigma - (sigma > LARGEST_SINGLE_SIGMA)


def release_rho(norm: int, sigma: int) -> float:
    """The zCDP of one release with L2 sensitivity `norm`, both in integer units."""
    if norm <= 0 or sigma <= 0:
        raise InputError("The norm bound and sigma of a release must be positive.")
    return norm * norm / (2 * noise_variance(sigma))


def subsampled_gaussian_rdp(rate: float, noise_multiplier: float, order: int) -> float:
    """Rényi divergence of one release from a Poisson lot; noise_multiplier is sigma / norm.

    With Q = N_Z(0, sigma^2)^d, P = Q shifted by one record's integer vector s and M = (1 - rate) Q + rate P,

        E_Q[(M / Q)^a] = sum_k C(a, k) (1 - rate)^(a - k) rate^k exp((k^2 - k) |s|^2 / (2 sigma^2))

    for order a (Mironov, Talwar and Zhang 2019, section 3.3, for the continuous Gaussian). For the discrete
    one it is an equality as well, because k and s are integers: E_Q[(P / Q)^k] completes the square to a sum
    of the Gaussian weights over Z^d - k s, which is Z^d again. That fails for other orders, which are
    refused. The opposite divergence, of Q from M, is not larger (their theorem 5): its proof needs a map of
    the outcomes onto themselves that exchanges P and Q, here z -> s - z. The sum grows with |s|, so
    |s| = norm bounds it.

    rate: strictly between 0 and 1; order: an integer of at least 2; InputError otherwise.
    """
    if not 0 < rate < 1:
        raise InputError(f"The sampling rate is {rate}.", "It must lie strictly between 0 and 1.")
    if not noise_multiplier > 0:
        raise InputError("The noise multiplier of a release must be positive.")
    if type(order) is not int or order < 2:
        raise InputError(f"The order is {order}.", "Sampled releases have integer orders of at least 2.")
    return _softplus(_log_excess(rate, noise_multiplier, order)) / (order - 1)


@cache
def sampled_loss(norm: int, sigma: int, rate: float) -> Loss:
    """The loss of one release with L2 sensitivity `norm` from a proven Poisson lot, without its eta."""
    release_rho(norm, sigma)  # refuses bounds that are not positive
    noise_multiplier = math.sqrt(noise_variance(sigma)) / norm
    return Loss(curve=tuple(subsampled_gaussian_rdp(rate, noise_multiplier, order) for order in ORDERS))


def epsilon(rho: float, delta: float) -> float:
    """The smallest epsilon that rho-zCDP gives at `delta`.

    Minimises `_epsilon_at` over real orders; any gives a valid bound; the minimum is found to 1e-9.
    """
    _check_delta(delta)
    if rho < 0:
        raise InputError("rho must not be negative.")
    if rho == 0:
        return 0.0
    if math.isinf(rho):
        return math.inf

    def bound(log_excess: float) -> float:
        excess = math.exp(log_excess)  # order - 1
        return _epsilon_at(excess, (1 + excess) * rho, delta)

    return max(0.0, _minimum(bound, -20.0, 40.0))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The exact epsilon at `delta` of releases with *continuous* Gaussian noise: a comparison, no guarantee.

    mu: norm / sigma of one release, times the square root of their number: mu-GDP, whose
    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) (Dong, Roth and Su 2022).
    `epsilon` bounds the same releases from above, and holds for discrete noise; the gap between the two is
    the price of that, and of sums that anybody can check. Found to 1e-9, relative or absolute.
    """
    _check_delta(delta)
    if not 0 <= mu < math.inf:
        raise InputError(f"mu is {mu}; it must be finite and not negative.")

    def exceeded(value: float) -> bool:
        shift = value / mu
        second = math.exp(value + _log_tail(shift + mu / 2))
        return math.exp(_log_tail(shift - mu / 2)) - second > delta

    if mu == 0 or not exceeded(0.0):
        return 0.0
    low, high = 0.0, mu * (mu / 2 + math.sqrt(-2 * math.log(delta)))  # Phi's first term is below delta there
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeded(middle) else (low, middle)
    return high


def guarantee(loss: Loss, delta: float) -> Guarantee:
    """The guarantee at `delta`; with sampled releases the best over the integer ORDERS."""
    if loss.curve and math.isfinite(loss.rho):
        _check_delta(delta)
        bounds = (
            _epsilon_at(order - 1, order * loss.rho + divergence, delta)
            for order, divergence in zip(ORDERS, loss.curve, strict=True)
        )
        value = max(0.0, min(bounds))
    else:
        value = epsilon(loss.rho, delta)
    slack = min(1.0, (1 + math.exp(min(value, 700.0))) * loss.eta) if loss.eta else 0.0
    return Guarantee(value, delta, slack)


def _epsilon_at(excess: float, divergence: float, delta: float) -> float:
    """The epsilon that a Rényi divergence of order alpha = 1 + excess gives.

    divergence + log(1 - 1/alpha) - log(delta alpha) / (alpha - 1) (Canonne, Kamath and Steinke 2020,
    proposition 12).
    """
    order = 1 + excess
    return divergence + math.log(excess / order) - math.log(delta * order) / excess


def _log_excess(rate: float, noise_multiplier: float, order: int) -> float:
    """Logarithm of the sum in `subsampled_gaussian_rdp` minus 1, without cancellation.

    The binomial weights add up to 1, so 1 is taken from every exponential; k = 0 and k = 1 leave nothing.
    """
    terms = []
    for k in range(2, order + 1):
        exponent = (k * k - k) / (2 * noise_multiplier**2)
        weight = math.log(math.comb(order, k)) + k * math.log(rate) + (order - k) * math.log1p(-rate)
        terms.append(weight + exponent + math.log(-math.expm1(-exponent)))
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


def _softplus(value: float) -> float:
    """log(1 + e^value) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _log_tail(value: float) -> float:
    """Logarithm of a standard normal variable's probability to exceed `value`; above 30 by three terms of
    its asymptotic series, to a relative 1e-8."""
    if value < 30:
        return math.log(math.erfc(value / math.sqrt(2)) / 2)
    series = math.log1p(-(value**-2) + 3 * value**-4)
    return series - value * value / 2 - math.log(value * math.sqrt(2 * math.pi))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta}; it must lie strictly between 0 and 1.")


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
