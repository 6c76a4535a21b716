"""The sampler's tables against the definition of the discrete Gaussian, computed independently in decimal."""

import math
from decimal import Decimal, localcontext
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import sampler
from intertwine.zk.sampler import SIGMAS


@cache
def gaussian_weights(sigma: int) -> list[Decimal]:
    """exp(-k²/2σ²) for k = 0 .. 20σ, to 80 digits."""
    with localcontext(prec=80):
        return [(-Decimal(k * k) / (2 * sigma * sigma)).exp() for k in range(20 * sigma)]


def magnitude_probabilities(sigma: int) -> list[Decimal]:
    """P(|z| = k) for the exact discrete Gaussian."""
    weights = gaussian_weights(sigma)
    with localcontext(prec=80):
        masses = [weights[0], *(2 * weight for weight in weights[1:])]
        total = sum(masses)
        return [mass / total for mass in masses]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_thresholds_are_the_rounded_distribution(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    with localcontext(prec=80):
        below, expected = Decimal(0), [0]
        for probability in magnitude_probabilities(sigma):
            below += probability
            expected.append(int((below * 2 ** (chosen.bits - 1)).to_integral_value()))
    rows = [(k, expected[k], expected[k + 1]) for k in range(20 * sigma) if expected[k] < expected[k + 1]]
    assert list(chosen.table.rows) == rows


@pytest.mark.parametrize("sigma", SIGMAS)
def test_rows_partition_the_remainders(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    rows = chosen.table.rows
    assert rows[0][:2] == (0, 0) and rows[-1][2] == 2 ** (chosen.bits - 1)
    assert all(before[2] == after[1] for before, after in pairwise(rows))
    assert all(low < high and high - low < 2**55 for _, low, high in rows)
    assert len(rows) <= 4089 and rows[-1][0] < 2**12


@pytest.mark.parametrize("sigma", SIGMAS)
def test_total_variation(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    widths = {k: high - low for k, low, high in chosen.table.rows}
    with localcontext(prec=80):
        scale = Decimal(2) ** (chosen.bits - 1)
        distance = sum(
            abs(widths.get(k, 0) / scale - probability)
            for k, probability in enumerate(magnitude_probabilities(sigma))
        )
        exact = float(distance / 2)
    assert exact <= sampler.total_variation(sigma) <= exact * (1 + 1e-9)
    assert -53.8 < math.log2(sampler.total_variation(sigma)) < -53.7


@pytest.mark.parametrize("sigma", SIGMAS)
def test_both_signs_agree_with_the_definition(sigma: int) -> None:
    """P(0) counts once and P(k) = P(-k): over the signed values the variance is that of the Gaussian."""
    chosen = sampler.sampler(sigma)
    masses = {k: high - low for k, low, high in chosen.table.rows}
    variance = sum(k * k * mass for k, mass in masses.items()) / 2 ** (chosen.bits - 1)
    assert variance == pytest.approx(sigma**2, rel=1e-10)
    ratio = masses[1] / (2 * masses[0])
    assert ratio == pytest.approx(math.exp(-1 / (2 * sigma**2)), rel=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_edges_of_every_interval(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    magnitudes, lower, upper = (
        np.array(column, dtype=np.uint64) for column in zip(*chosen.table.rows, strict=True)
    )
    sign = np.uint64(1 << (chosen.bits - 1))
    for edge in (lower, upper - np.uint64(1)):
        assert np.array_equal(chosen.sample(edge), magnitudes.astype(np.int64))
        assert np.array_equal(chosen.sample(edge + sign), -magnitudes.astype(np.int64))


def uniform_bits(bits: int, count: int) -> NDArray[np.uint64]:
    words = np.random.default_rng(7).integers(0, 2**64, count, dtype=np.uint64)
    return words & np.uint64((1 << bits) - 1)


@pytest.mark.parametrize("sigma", [50, 400])
def test_chi_square(sigma: int) -> None:
    chosen = sampler.sampler(sigma)
    count, width = 400_000, sigma // 5
    samples = chosen.sample(uniform_bits(chosen.bits, count))
    bins = np.clip((samples + width // 2) // width, -20, 20)
    observed = np.bincount(bins + 20, minlength=41)
    probabilities = [float(value) for value in magnitude_probabilities(sigma)]
    signed = np.array(
        [
            *(value / 2 for value in probabilities[:0:-1]),
            probabilities[0],
            *(v / 2 for v in probabilities[1:]),
        ]
    )
    values = np.arange(len(signed)) - (len(signed) - 1) // 2
    groups = np.clip((values + width // 2) // width, -20, 20) + 20
    expected = np.bincount(groups, weights=signed, minlength=41) * count
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    degrees = 40
    assert abs(statistic - degrees) < 4.5 * math.sqrt(2 * degrees)


def test_a_wrong_standard_deviation_fails_chi_square() -> None:
    """The test above can fail: samples for 50 spread as if for 51."""
    chosen = sampler.sampler(50)
    samples = chosen.sample(uniform_bits(chosen.bits, 400_000))
    assert abs(float(np.std(samples)) - 50) < 0.3
    assert abs(float(np.std(samples)) - 51) > 0.7


@pytest.mark.parametrize("sigma", [0, 49, 401])
def test_unsupported_sigma(sigma: int) -> None:
    with pytest.raises(InputError, match="Choose one of 50, 100, 200, 400"):
        sampler.sampler(sigma)


def test_table_that_is_not_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sampler._RANDOM_BITS, 50, 60)
    with pytest.raises(VerificationError) as refused:
        sampler.sampler.__wrapped__(50)
    assert refused.value.check == "threshold_table"
