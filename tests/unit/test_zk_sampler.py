"""The sampler's tables against the definition of the discrete Gaussian, computed independently, exactly."""

import math
from decimal import Decimal, localcontext
from functools import cache
from itertools import pairwise

import flint
import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import release, sampler
from intertwine.zk.data_bound import MAX_ENTRY
from intertwine.zk.sampler import SIGMAS

LEVELS = [(50, 61), (64, 62), (100, 62), (200, 63), (400, 64)]
"""σ₁ and B of every table."""
TWO_LEVELS = {2049: (64, 32), 5001: (100, 50), 20001: (200, 100)}
"""By σ: σ₁ and the step k."""
PRECISION = 320


@cache
def magnitude_probabilities(sigma: int) -> list[Decimal]:
    """P(|z| = m) for the exact discrete Gaussian, m = 0 .. 20σ, to 80 digits."""
    with localcontext(prec=80):
        weights = [(-Decimal(m * m) / (2 * sigma * sigma)).exp() for m in range(20 * sigma)]
        masses = [weights[0], *(2 * weight for weight in weights[1:])]
        total = sum(masses)
        return [mass / total for mass in masses]


def table_of(sigma: int, bits: int) -> tuple[tuple[int, int, int], ...]:
    return sampler.threshold_rows(sigma, bits)


@pytest.mark.parametrize(("sigma", "bits"), LEVELS)
def test_thresholds_are_the_rounded_distribution(sigma: int, bits: int) -> None:
    with localcontext(prec=80):
        below, expected = Decimal(0), [0]
        for probability in magnitude_probabilities(sigma):
            below += probability
            expected.append(int((below * 2 ** (bits - 1)).to_integral_value()))
    rows = [(m, low, high) for m, (low, high) in enumerate(pairwise(expected)) if low < high]
    assert list(table_of(sigma, bits)) == rows


@pytest.mark.parametrize(("sigma", "bits"), LEVELS)
def test_rows_partition_the_remainders(sigma: int, bits: int) -> None:
    rows = table_of(sigma, bits)
    assert rows[0][:2] == (0, 0) and rows[-1][2] == 2 ** (bits - 1)
    assert all(before[2] == after[1] for before, after in pairwise(rows))
    assert all(low < high and high - low < 2**55 for _, low, high in rows)
    assert len(rows) <= 4088 and rows[-1][0] < 2**12


@pytest.mark.parametrize(("sigma", "bits"), LEVELS)
def test_variation_of_a_table(sigma: int, bits: int) -> None:
    widths = {m: high - low for m, low, high in table_of(sigma, bits)}
    with localcontext(prec=80):
        scale = Decimal(2) ** (bits - 1)
        distance = sum(
            abs(widths.get(m, 0) / scale - probability)
            for m, probability in enumerate(magnitude_probabilities(sigma))
        )
        exact = float(distance / 2)
    assert exact <= sampler.table_variation(sigma, bits) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_levels_of_every_sigma(sigma: int) -> None:
    """One level of σ itself, or two whose variances add up to σ² - 1."""
    chosen = sampler.sampler(sigma)
    base, step = TWO_LEVELS.get(sigma, (sigma, 0))
    assert chosen.steps == ((1, step) if step else (1,)) and 2 * step in (0, base)
    assert chosen.variance == base**2 * (1 + step**2) == sigma**2 - (sigma in TWO_LEVELS)
    assert chosen.table.rows == table_of(base, dict(LEVELS)[base]) and chosen.bits == dict(LEVELS)[base]
    assert (chosen.table.name, chosen.table.tag) == ("threshold", 1)
    largest = sum(chosen.steps) * chosen.table.rows[-1][0]
    assert largest + release.MAX_ENTRY <= 2 * release.MAX_ENTRY and largest < 2**19 < MAX_ENTRY


@pytest.mark.parametrize("sigma", SIGMAS)
def test_total_variation_as_stated(sigma: int) -> None:
    stated = math.log2(sampler.total_variation(sigma))
    one = {base: math.log2(sampler.table_variation(base, bits)) for base, bits in LEVELS}
    if sigma in TWO_LEVELS:
        assert stated == pytest.approx(one[TWO_LEVELS[sigma][0]] + 1, abs=1e-9)
    else:
        assert stated == one[sigma] and -53.8 < stated < -53.7
    assert stated < -52.7


def gaussian_weights(variance: int, count: int) -> list[int]:
    """2^320·exp(-m²/2V) for m < count, each within 2^60 units: q^(2m+1) by repeated multiplication."""
    one = 1 << PRECISION
    with localcontext(prec=120):
        base = int((Decimal(-1) / (2 * variance)).exp() * one)
    square = base * base >> PRECISION
    weights, step = [one], base
    for _ in range(count - 1):
        weights.append(weights[-1] * step >> PRECISION)
        step = step * square >> PRECISION
    return weights


def two_sided(values: list[int]) -> list[int]:
    return [*values[:0:-1], *values]


def convolved(first: list[int], step: int) -> list[int]:
    """Counts of z₀ + k·z₁ for two-sided counts of each, by one product of polynomials."""
    stretched = [0] * (step * (len(first) - 1) + 1)
    stretched[::step] = first
    return [int(count) for count in (flint.fmpz_poly(first) * flint.fmpz_poly(stretched)).coeffs()]


def distance(counts: list[int], weights: list[int]) -> float:
    """Total variation between two-sided counts and weights, both centred, each of its own total."""
    missing = (len(weights) - len(counts)) // 2
    assert missing >= 0
    padded = [*[0] * missing, *counts, *[0] * missing]
    total, mass = sum(counts), sum(weights)
    difference = sum(
        abs(count * mass - weight * total) for count, weight in zip(padded, weights, strict=True)
    )
    return float(difference * 2**200 // (2 * total * mass)) / 2.0**200


@pytest.mark.parametrize("sigma", TWO_LEVELS)
def test_two_levels_are_close_to_one_gaussian(sigma: int) -> None:
    """The very distribution of z, from the table, against N_Z(0, σ² - 1): all in integers."""
    chosen = sampler.sampler(sigma)
    widths = dict.fromkeys(range(chosen.table.rows[-1][0] + 1), 0)
    widths |= {m: high - low for m, low, high in chosen.table.rows}
    level = two_sided([2 * widths[0], *(widths[m] for m in sorted(widths) if m)])
    assert sum(level) == 2**chosen.bits
    found = distance(
        convolved(level, chosen.steps[1]), two_sided(gaussian_weights(chosen.variance, 13 * sigma))
    )
    assert found <= sampler.total_variation(sigma) < 16 * found


def test_the_convolution_itself() -> None:
    """Exact levels, at the smallest k: what the sum of two exact Gaussians on Z leaves is below the bound."""
    sigma, (base, step) = 2049, TWO_LEVELS[2049]
    exact = two_sided(gaussian_weights(base * base, 14 * base))
    counts = convolved(exact, step)
    weights = two_sided(gaussian_weights(sigma**2 - 1, (len(counts) + 1) // 2))
    found = distance(counts, weights)
    assert 2.0**-125 < found < sampler._CONVOLUTION == 2.0**-112


@pytest.mark.parametrize("sigma", SIGMAS)
def test_edges_of_every_interval(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    sizes, lower, upper = (
        np.array(column, dtype=np.uint64) for column in zip(*chosen.table.rows, strict=True)
    )
    sign, zero = np.uint64(1 << (chosen.bits - 1)), np.zeros(len(sizes), dtype=np.uint64)
    for place, step in enumerate(chosen.steps):
        for edge in (lower, upper - np.uint64(1)):
            levels = [zero] * len(chosen.steps)
            levels[place] = edge
            assert np.array_equal(chosen.sample(np.stack(levels)), step * sizes.astype(np.int64))
            levels[place] = edge + sign
            assert np.array_equal(chosen.sample(np.stack(levels)), -step * sizes.astype(np.int64))


def draws(sigma: int, count: int) -> NDArray[np.int64]:
    chosen = sampler.sampler(sigma)
    words = np.random.default_rng(7).integers(0, 2**64, (len(chosen.steps), count), dtype=np.uint64)
    return chosen.sample(words & np.uint64((1 << chosen.bits) - 1))


def chi_square_p(samples: NDArray[np.int64], variance: int) -> float:
    """The p-value against N_Z(0, variance) in 41 bins: for 40 degrees of freedom it has a closed form."""
    deviation = math.sqrt(variance)
    edges = np.ceil(np.linspace(-2.5, 2.5, 40) * deviation)
    values = np.arange(-int(9 * deviation), int(9 * deviation) + 1)
    weights = np.exp(-(values.astype(np.float64) ** 2) / (2 * variance))
    expected = np.bincount(np.digitize(values, edges), weights, 41) / weights.sum() * len(samples)
    observed = np.bincount(np.digitize(samples, edges), minlength=41)
    half = float(np.sum((observed - expected) ** 2 / expected)) / 2
    return math.exp(-half) * sum(half**power / math.factorial(power) for power in range(20))


@pytest.mark.parametrize("sigma", [200, 5001])
def test_chi_square(sigma: int) -> None:
    samples = draws(sigma, 1_000_000)
    variance = sampler.sampler(sigma).variance
    assert chi_square_p(samples, variance) > 1e-4
    assert chi_square_p(samples, round(variance * 1.01)) < 1e-4, "half a percent of deviation is noticed"
    assert abs(float(np.mean(samples))) < 5 * math.sqrt(variance / len(samples))


def test_levels_are_independent_and_all_residues_occur() -> None:
    """Without the fine level every z would be a multiple of k."""
    samples = draws(2049, 100_000)
    counts = np.bincount(samples % 32, minlength=32)
    assert counts.min() > 100_000 / 32 * 0.9


@pytest.mark.parametrize("sigma", [0, 49, 401, -50, 2048])
def test_unsupported_sigma(sigma: int) -> None:
    with pytest.raises(InputError, match=r"Choose one of 50, 100, 200, 400, 2049, 5001, 20001"):
        sampler.sampler(sigma)


def test_table_that_is_not_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sampler._LEVELS, 50, (50, 60))
    with pytest.raises(VerificationError) as refused:
        sampler.sampler.__wrapped__(50)
    assert refused.value.check == "threshold_table"


def test_an_uncertain_threshold_is_an_error() -> None:
    """Rounding is refused where the error bound could change it."""
    with pytest.raises(VerificationError, match="cannot be rounded with certainty"):
        sampler._rounded_ratio(2**200 + 2**199, 2**201, 1)
