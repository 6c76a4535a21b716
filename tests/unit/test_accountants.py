"""Every epsilon by other accountants: Opacus, dp-accounting, and Gaussian DP in closed form."""

import math
import re
from pathlib import Path

import pytest
from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant
from opacus.accountants import RDPAccountant as OpacusRdpAccountant

from intertwine.models.recipes import RECIPES
from intertwine.protocols.accounting import (
    ORDERS,
    Loss,
    epsilon,
    gaussian_epsilon,
    guarantee,
    noise_variance,
    subsampled_gaussian_rdp,
)
from intertwine.protocols.errors import InputError

# Opacus' PRV accountant divides by zero at the border of its domain if every record is in the lot, and sizes
# that domain by a first estimate that needs no best order.
pytestmark = pytest.mark.filterwarnings(
    "ignore:divide by zero:RuntimeWarning", "ignore:Optimal order is the largest alpha:UserWarning"
)

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
REAL_ORDERS = [1 + math.exp(step / 20) for step in range(-80, 110)]
"""Dense enough to find the optimum; releases from a sampled lot have integer orders."""

Run = tuple[float, int, float, float]
"""Noise multiplier, releases, sampling rate and delta."""

RECIPE_RUNS: dict[str, Run] = {
    name: (math.sqrt(noise_variance(recipe.sigma)) / recipe.record_bound, recipe.rounds, 1.0, 1e-5)
    for name, recipe in RECIPES.items()
}
SHOWN: dict[str, Run] = RECIPE_RUNS | {
    "glm, lot 512": (4.0, 50, 512 / 2048, 1e-5),
    "glm, lot 64": (1.5, 500, 64 / 2048, 1e-5),
}
GRID: list[Run] = [
    *SHOWN.values(),
    (1.0, 1, 1.0, 1e-6),
    (4.0, 100, 1.0, 1e-5),
    (20.0, 1000, 1.0, 1e-9),
    (1.0, 1000, 0.01, 1e-5),
    (2.0, 200, 0.25, 1e-6),
]
every_run = pytest.mark.parametrize(("multiplier", "releases", "rate", "delta"), GRID)


def here(multiplier: float, releases: int, rate: float, delta: float) -> float:
    if rate == 1:
        return epsilon(releases / (2 * multiplier**2), delta)
    curve = tuple(subsampled_gaussian_rdp(rate, multiplier, order) for order in ORDERS)
    return guarantee(Loss(curve=curve) * releases, delta).epsilon


def orders(rate: float) -> list[float]:
    return REAL_ORDERS if rate == 1 else list(ORDERS)


def event(multiplier: float, releases: int, rate: float) -> DpEvent:
    single = GaussianDpEvent(multiplier)
    return SelfComposedDpEvent(single if rate == 1 else PoissonSampledDpEvent(rate, single), releases)


def opacus_rdp(multiplier: float, releases: int, rate: float, delta: float) -> float:
    accountant = OpacusRdpAccountant()
    accountant.history = [(multiplier, rate, releases)]
    return float(accountant.get_epsilon(delta, alphas=orders(rate)))


def google_rdp(multiplier: float, releases: int, rate: float, delta: float) -> float:
    accountant = RdpAccountant(orders(rate))
    accountant.compose(event(multiplier, releases, rate))
    return accountant.get_epsilon(delta)


def opacus_prv(multiplier: float, releases: int, rate: float, delta: float) -> float:
    accountant = PRVAccountant()
    accountant.history = [(multiplier, rate, releases)]
    return float(accountant.get_epsilon(delta, eps_error=0.005))


def google_pld(multiplier: float, releases: int, rate: float, delta: float) -> float:
    accountant = PLDAccountant()
    accountant.compose(event(multiplier, releases, rate))
    return accountant.get_epsilon(delta)


@every_run
def test_renyi_accountants_agree(multiplier: float, releases: int, rate: float, delta: float) -> None:
    ours = here(multiplier, releases, rate, delta)
    assert ours == pytest.approx(opacus_rdp(multiplier, releases, rate, delta), rel=0.001)
    assert ours == pytest.approx(google_rdp(multiplier, releases, rate, delta), rel=0.001)


@every_run
def test_tight_accountants_are_below(multiplier: float, releases: int, rate: float, delta: float) -> None:
    """Those of continuous noise; the one in closed form agrees with the numerical ones within 1%."""
    tight = opacus_prv(multiplier, releases, rate, delta)
    assert 0.8 < tight / here(multiplier, releases, rate, delta) < 1
    if rate == 1:
        exact = gaussian_epsilon(math.sqrt(releases) / multiplier, delta)
        assert exact == pytest.approx(tight, rel=0.01)
        assert exact == pytest.approx(google_pld(multiplier, releases, rate, delta), rel=0.001)


@pytest.mark.parametrize(("mu", "expected"), [(0.268, 1), (0.719, 3), (1.666, 8)])
def test_gaussian_dp_at_published_points(mu: float, expected: float) -> None:
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("mu", [0.01, 0.7, 5.0, 29.0, 31.0, 1e4])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_gaussian_dp_is_below_the_bound_of_zcdp(mu: float, delta: float) -> None:
    """Near it where mu is large: there the mean of the privacy loss decides, mu^2 / 2 in both."""
    exact, bound = gaussian_epsilon(mu, delta), epsilon(mu * mu / 2, delta)
    assert exact <= bound
    if mu > 1000:
        assert exact == pytest.approx(bound, rel=1e-3)


def test_gaussian_dp_gives_the_delta_that_was_asked_for() -> None:
    mu, delta = 0.7, 1e-5
    shift = gaussian_epsilon(mu, delta) / mu
    phi = [math.erfc(-value / math.sqrt(2)) / 2 for value in (mu / 2 - shift, -mu / 2 - shift)]
    assert phi[0] - math.exp(shift * mu) * phi[1] == pytest.approx(delta, rel=1e-6)


def test_gaussian_dp_at_its_limits() -> None:
    assert gaussian_epsilon(0.0, 1e-5) == 0.0
    assert gaussian_epsilon(1e-6, 1e-5) == 0.0
    for mu in (-1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="mu is"):
            gaussian_epsilon(mu, 1e-5)
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        gaussian_epsilon(1.0, 1.0)


def test_privacy_page_shows_what_the_accountants_say() -> None:
    rows = re.findall(r"^\| (\w[\w, ]*) \|((?:[^|\n]+\|){9})$", PAGE.read_text(), re.MULTILINE)
    shown = {name: [cell.strip() for cell in cells.split("|")[:-1]] for name, cells in rows if name in SHOWN}
    assert set(shown) == set(SHOWN)
    for name, run in SHOWN.items():
        multiplier, releases, rate, _ = run
        exact = gaussian_epsilon(math.sqrt(releases) / multiplier, 1e-5) if rate == 1 else None
        tools = (here, opacus_rdp, google_rdp, opacus_prv, google_pld)
        figures = [f"{tool(*run):.2f}" for tool in tools] + [f"{exact:.2f}" if exact else "none"]
        assert shown[name][3:] == figures
        assert [float(cell) for cell in shown[name][:3]] == pytest.approx(run[:3], rel=1e-3)
