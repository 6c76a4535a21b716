"""The accounting against published formulas and against dp-accounting, which shares no code with it."""

import math

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant

from intertwine.protocols.accounting import (
    ORDERS,
    Assurance,
    Guarantee,
    Loss,
    epsilon,
    guarantee,
    noise_variance,
    release_rho,
    sampled_loss,
    subsampled_gaussian_rdp,
)
from intertwine.protocols.errors import InputError
from intertwine.zk.sampler import SIGMAS, sampler

CASES = [
    # norm, sigma, releases, delta
    (200, 200, 1, 1e-5),
    (100, 400, 20, 1e-5),
    (40, 50, 60, 1e-6),
    (10, 400, 1000, 1e-9),
    (3000, 400, 5, 1e-5),
]


@pytest.mark.parametrize(("norm", "sigma", "releases", "delta"), CASES)
def test_epsilon_matches_dp_accounting(norm: int, sigma: int, releases: int, delta: float) -> None:
    """Google's accountant, with orders fine enough to find the minimum; within 1%, and never better."""
    orders = [1 + math.exp(step / 50) for step in range(-200, 600)]
    accountant = RdpAccountant(orders)
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(sigma / norm), releases))
    ours = epsilon(releases * release_rho(norm, sigma), delta)
    assert ours == pytest.approx(accountant.get_epsilon(delta), rel=0.01)


@pytest.mark.parametrize(("norm", "sigma", "releases", "delta"), CASES[:3])
def test_epsilon_bounds_the_exact_discrete_gaussian(
    norm: int, sigma: int, releases: int, delta: float
) -> None:
    """The privacy loss distribution of the discrete Gaussian itself, in one dimension, is below our bound."""
    single = privacy_loss_distribution.from_discrete_gaussian_mechanism(
        sigma, sensitivity=norm, value_discretization_interval=1e-3
    )
    exact = single.self_compose(releases).get_epsilon_for_delta(delta)
    ours = epsilon(releases * release_rho(norm, sigma), delta)
    assert exact * 0.99 < ours < exact * 1.25


def test_known_values() -> None:
    """rho = 1/2 at delta = 1e-5; the simpler bound rho + 2 sqrt(rho log 1/delta) gives 5.298."""
    assert release_rho(200, 200) == 0.5
    assert release_rho(1, 400) == 1 / 320_000
    assert epsilon(0.5, 1e-5) == pytest.approx(4.728, abs=1e-3)
    assert 0.5 + 2 * math.sqrt(0.5 * math.log(1e5)) == pytest.approx(5.298, abs=1e-3)


def test_limits() -> None:
    assert epsilon(0.0, 1e-5) == 0.0
    assert math.isinf(epsilon(math.inf, 1e-5))
    assert epsilon(1e-12, 1e-2) < 1e-5


def test_finite_precision_is_added_to_delta() -> None:
    figures = guarantee(Loss(0.5, eta=1e-13), 1e-5)
    assert figures == Guarantee(epsilon(0.5, 1e-5), 1e-5, (1 + math.exp(epsilon(0.5, 1e-5))) * 1e-13)
    assert guarantee(Loss(0.5), 1e-5).precision_delta == 0.0
    assert guarantee(Loss(1e4, eta=1e-13), 1e-5).precision_delta == 1.0
    assert guarantee(Loss(math.inf, eta=1e-13), 1e-5) == Guarantee(math.inf, 1e-5, 1.0)


# Sampled releases

SAMPLED = [
    # norm, sigma, rate, releases, delta
    (400, 400, 0.01, 1000, 1e-5),
    (1250, 5001, 64 / 2048, 500, 1e-6),
    (100, 200, 512 / 2048, 20, 1e-5),
    (50, 50, 2047 / 2048, 3, 1e-5),
]


@pytest.mark.parametrize(("norm", "sigma", "rate", "releases", "delta"), SAMPLED)
def test_sampled_epsilon_matches_dp_accounting(
    norm: int, sigma: int, rate: float, releases: int, delta: float
) -> None:
    """Google's accountant of the subsampled Gaussian at the same orders; within 1%."""
    accountant = RdpAccountant(list(ORDERS))
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(sigma / norm))
    accountant.compose(SelfComposedDpEvent(event, releases))
    ours = guarantee(sampled_loss(norm, sigma, rate) * releases, delta).epsilon
    assert ours == pytest.approx(accountant.get_epsilon(delta), rel=0.01)


def discrete_gaussian(sigma: int, shift: int) -> list[float]:
    support = range(-20 * sigma, 20 * sigma + 1)
    weights = [math.exp(-((z - shift) ** 2) / (2 * sigma**2)) for z in support]
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("order", [2, 3, 7])
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_binomial_sum_is_exact_for_the_discrete_gaussian(order: int, rate: float) -> None:
    """Against the divergence summed over the integers; the opposite divergence is not larger."""
    base, shifted = discrete_gaussian(10, 0), discrete_gaussian(10, 7)
    mixed = [(1 - rate) * q + rate * p for q, p in zip(base, shifted, strict=True)]

    def divergence(first: list[float], second: list[float]) -> float:
        logarithms = ((math.log(m), math.log(q)) for m, q in zip(first, second, strict=True))
        moment = math.fsum(math.exp(order * m + (1 - order) * q) for m, q in logarithms)
        return math.log(moment) / (order - 1)

    expected = divergence(mixed, base)
    assert subsampled_gaussian_rdp(rate, 10 / 7, order) == pytest.approx(expected, rel=1e-9)
    assert divergence(base, mixed) <= expected


def test_a_whole_lot_has_no_advantage_and_a_small_one_has_much() -> None:
    """The divergence approaches order / (2 multiplier^2) as the rate approaches 1."""
    assert subsampled_gaussian_rdp(1 - 1e-12, 2.0, 16) == pytest.approx(16 / (2 * 2.0**2), rel=1e-6)
    assert guarantee(Loss(1000 / 2), 1e-5).epsilon > 600
    assert guarantee(sampled_loss(1, 1, 0.01) * 1000, 1e-5).epsilon < 2.5


@pytest.mark.parametrize("order", [1.5, 2.5, 2.0, 63.5, 1, 0, -3, True])
def test_half_integer_order(order: float) -> None:
    """The sum is exact for integer orders only; nothing else is computed, rounded or interpolated."""
    with pytest.raises(InputError, match="integer orders of at least 2"):
        subsampled_gaussian_rdp(0.01, 1.0, order)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_rate_that_is_no_sampling(rate: float) -> None:
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        sampled_loss(10, 100, rate)


def test_losses_compose_by_kind() -> None:
    plain, sampled = Loss(0.1, eta=1e-12), sampled_loss(400, 400, 0.01)
    both = plain + sampled * 3 + plain + sampled
    assert both.rho == pytest.approx(0.2)
    assert both.eta == pytest.approx(2e-12)
    assert both.curve == pytest.approx([4 * value for value in sampled.curve])
    assert (plain * 2).curve == ()


def test_mixed_losses_are_minimised_over_the_integer_orders() -> None:
    """By hand: the line of the unsampled releases plus the curve, converted at every order."""
    loss = Loss(0.05) + sampled_loss(400, 400, 0.01) * 100
    bounds = [
        order * 0.05 + divergence + math.log(1 - 1 / order) - math.log(1e-5 * order) / (order - 1)
        for order, divergence in zip(ORDERS, loss.curve, strict=True)
    ]
    assert guarantee(loss, 1e-5).epsilon == pytest.approx(min(bounds), rel=1e-12)
    assert guarantee(loss, 1e-5).epsilon > max(
        epsilon(0.05, 1e-5), guarantee(Loss(0.0, loss.curve), 1e-5).epsilon
    )
    assert guarantee(loss + Loss(math.inf), 1e-5).epsilon == math.inf


def test_nothing_sampled_keeps_the_real_orders() -> None:
    """The optimum lies at order 1.3 here; at integer orders the figure would be larger."""
    assert guarantee(Loss(500.0), 1e-5).epsilon == epsilon(500.0, 1e-5)
    assert guarantee(Loss(500.0, tuple(0.0 for _ in ORDERS)), 1e-5).epsilon > epsilon(500.0, 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_impossible_delta(delta: float) -> None:
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        epsilon(0.5, delta)
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        guarantee(sampled_loss(1, 1, 0.5), delta)


def test_impossible_rho_and_bounds() -> None:
    with pytest.raises(InputError, match="negative"):
        epsilon(-0.1, 1e-5)
    for norm, sigma in ((0, 50), (-1, 50), (1, 0)):
        with pytest.raises(InputError, match="positive"):
            release_rho(norm, sigma)
        with pytest.raises(InputError, match="positive"):
            sampled_loss(norm, sigma, 0.5)
    with pytest.raises(InputError, match="positive"):
        subsampled_gaussian_rdp(0.5, 0.0, 2)


def test_assurance_levels_are_told_apart() -> None:
    assert {level.value for level in Assurance} == {"proven-participant", "proven-record", "attested-record"}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_variance_is_that_of_the_sampler(sigma: int) -> None:
    assert noise_variance(sigma) == sampler(sigma).variance
