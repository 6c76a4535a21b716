"""The accounting against published formulas and against dp-accounting, which shares no code with it."""

import math

import pytest
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant

from intertwine.protocols.accounting import Assurance, Guarantee, epsilon, guarantee, release_rho
from intertwine.protocols.errors import InputError

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
    figures = guarantee(0.5, 1e-5, 1e-13)
    assert figures == Guarantee(epsilon(0.5, 1e-5), 1e-5, (1 + math.exp(epsilon(0.5, 1e-5))) * 1e-13)
    assert guarantee(0.5, 1e-5, 0.0).precision_delta == 0.0
    assert guarantee(1e4, 1e-5, 1e-13).precision_delta == 1.0
    assert guarantee(math.inf, 1e-5, 1e-13) == Guarantee(math.inf, 1e-5, 1.0)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_impossible_delta(delta: float) -> None:
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        epsilon(0.5, delta)


def test_impossible_rho_and_bounds() -> None:
    with pytest.raises(InputError, match="negative"):
        epsilon(-0.1, 1e-5)
    for norm, sigma in ((0, 50), (-1, 50), (1, 0)):
        with pytest.raises(InputError, match="positive"):
            release_rho(norm, sigma)


def test_assurance_levels_are_told_apart() -> None:
    assert {level.value for level in Assurance} == {"proven-participant", "proven-record", "attested-record"}
