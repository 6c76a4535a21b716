"""Volatility from prices: what is refused, that nothing looks ahead, and the figures that the page shows."""

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intertwine.models import prices, volatility
from intertwine.models.prices import Prices, Values
from intertwine.models.volatility import FORECASTERS, Weeks
from intertwine.protocols.errors import InputError

NUMBER = re.compile(r"[+-]?\d+\.?\d*")
TESTED = 20


def days(count: int) -> tuple[date, ...]:
    return tuple(date(2024, 1, 1) + timedelta(day) for day in range(count))


def simulated(count: int = 140, assets: int = 3) -> Weeks:
    """Returns whose volatility wanders."""
    generator = np.random.default_rng(7)
    log_volatility = np.zeros((count * 5, assets))
    for day in range(1, len(log_volatility)):
        log_volatility[day] = 0.97 * log_volatility[day - 1] + generator.normal(0, 0.2, assets)
    returns = 0.01 * np.exp(log_volatility) * generator.normal(size=log_volatility.shape)
    return Weeks(returns.reshape(count, 5, assets), count - TESTED)


# Prices


@pytest.mark.parametrize(
    ("closes", "message"),
    [
        ([10, np.nan, 10], "ACME on 2024-01-02, nan, is not a price"),
        ([10, 0, 10], "ACME on 2024-01-02, 0, is not a price"),
        ([10, 10, -3], "ACME on 2024-01-03, -3, is not a price"),
        ([10, np.inf, 10], "ACME on 2024-01-02, inf, is not a price"),
        ([10, 5.04, 5], "ACME on 2024-01-02, 5.04, is a multiple or fraction"),
        ([10, 11, 110], "ACME on 2024-01-03, 110, is a multiple or fraction"),
    ],
)
def test_bad_closes_are_refused(closes: list[float], message: str) -> None:
    table = np.column_stack([[7.0, 7.1, 7.2], closes])
    with pytest.raises(InputError, match=message):
        Prices(("OTHER", "ACME"), days(3), table)


@pytest.mark.parametrize(
    "held",
    [
        (date(2024, 1, 1), date(2024, 1, 12)),
        (date(2024, 1, 2), date(2024, 1, 1)),
        (date(2024, 1, 1), date(2024, 1, 1)),
    ],
    ids=["gap", "order", "twice"],
)
def test_gaps_and_disorder_are_refused(held: tuple[date, ...]) -> None:
    with pytest.raises(InputError, match=f"after {held[0]} are those of {held[1]}"):
        Prices(("ACME",), held, np.ones((2, 1)))


def test_a_real_crash_is_no_split() -> None:
    assert len(Prices(("ACME",), days(2), np.array([[100.0], [48.2]])).days) == 2


ROWS = "asset,day,close\nB,2024-01-02,2.5\nA,2024-01-02,1e1\nA,2024-01-03,11\n"


def test_a_file_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(ROWS + "B,2024-01-03,2.75\n")
    found = prices.load(path)
    assert found.assets == ("A", "B")
    assert found.days == (date(2024, 1, 2), date(2024, 1, 3))
    assert np.array_equal(found.closes, [[10.0, 2.5], [11.0, 2.75]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "B has no close on 2024-01-03"),
        ("A,2024-01-03,12", "row 5, column day: this asset has that day twice"),
        ("B,2024-01-03,-2", "row 5, column close: '-2' is not a number"),
        ("B,03/01/2024,2", "row 5, column day: '03/01/2024' is not a date"),
        ("B,2024-01-03,0", "B on 2024-01-03, 0, is not a price"),
    ],
)
def test_bad_rows_are_refused(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(ROWS + row + "\n")
    with pytest.raises(InputError, match=message):
        prices.load(path)


# Forecasts


def test_weeks_end_with_the_last_day() -> None:
    closes = np.exp(np.random.default_rng(1).normal(0, 0.01, (62 * 5 + 3, 2)).cumsum(axis=0))
    found = volatility.weeks(Prices(("A", "B"), days(len(closes)), closes), 5)
    assert found.returns.shape == (62, 5, 2)
    assert found.first_test == 57
    assert np.allclose(found.returns[-1].sum(axis=0), np.log(closes[-1] / closes[-6]))
    with pytest.raises(InputError, match="62 weeks of prices cannot be tested on 6"):
        volatility.weeks(Prices(("A", "B"), days(len(closes)), closes), 6)


@pytest.mark.parametrize("name", FORECASTERS)
def test_forecasts_do_not_look_ahead(name: str) -> None:
    given = simulated()
    changed = given.returns.copy()
    changed[given.first_test + 3 :] *= 5.0
    before, after = (FORECASTERS[name](Weeks(each, given.first_test)) for each in (given.returns, changed))
    known = given.first_test + 3 - volatility.YEAR + 1
    assert before.shape == (141 - volatility.YEAR, 3)
    assert np.array_equal(before[:known], after[:known])
    assert not np.allclose(before[known:], after[known:])


@pytest.mark.parametrize("name", FORECASTERS)
def test_forecasts_are_variances(name: str) -> None:
    """Twice the returns, four times the forecasts; and a price that stands still is none that breaks them."""
    given = simulated()
    found = FORECASTERS[name](given)
    doubled = FORECASTERS[name](Weeks(2.0 * given.returns, given.first_test))
    assert np.allclose(doubled, 4.0 * found, rtol=1e-6)
    returns = given.returns.copy()
    returns[60:80, :, 1] = 0.0
    still = FORECASTERS[name](Weeks(returns, given.first_test))
    assert np.isfinite(still).all()
    assert (still > 0.0).all()


def test_the_models_learn() -> None:
    given = simulated(400)
    realised = given.variance[given.first_test :]
    losses = {}
    for name, forecaster in FORECASTERS.items():
        losses[name] = volatility.qlike(
            forecaster(given)[given.first_test - volatility.YEAR : -1], realised
        ).mean()
    assert max(losses["HAR"], losses["LSTM"]) < 0.7 * losses["last week"]


def test_ewma_is_its_formula() -> None:
    given = simulated()
    squares = given.returns.reshape(-1, 3) ** 2
    ages = np.arange(len(squares))[::-1, None]
    expected = (0.06 * 0.94**ages * squares).sum(axis=0) + 0.94 ** len(squares) * squares[:22].mean(axis=0)
    assert np.allclose(volatility.ewma(given)[-1], 5.0 * expected)


def test_har_finds_the_coefficients_of_its_own_model() -> None:
    """Without noise in the target, the fit is exact: a week's volatility is a function of the one before."""
    weekly = [0.02, 0.03]
    while len(weekly) < 140:
        weekly.append(0.01 + 0.6 * weekly[-1])
    returns = np.repeat(np.array(weekly)[:, None, None], 5, axis=1) / np.sqrt(5.0)
    found = volatility.har(Weeks(returns, 120))
    assert np.allclose(found[:-1, 0], np.square(weekly[volatility.YEAR :]), rtol=1e-6)


def test_qlike_ranks_the_mean_first() -> None:
    realised = np.random.default_rng(2).gamma(2.0, size=1000)
    assert volatility.qlike(realised, realised).max() == pytest.approx(0.0, abs=1e-12)
    losses = [
        volatility.qlike(np.full(1000, scale * realised.mean()), realised).mean() for scale in (0.9, 1, 1.1)
    ]
    assert losses[1] == min(losses)


def test_weights_by_equal_forecasts_are_equal_weights() -> None:
    given = simulated()
    same: Values = np.ones((141 - volatility.YEAR, 3))
    _, equal, own = volatility.portfolio_table(given, {"same": same}).splitlines()
    assert own.split()[:2] == ["same", equal.split()[1]]
    assert own.endswith("+0.00 ± 0.00")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_page_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("skfolio", reason="the finance extra is not installed")
    page = Path(__file__).parents[2] / "docs" / "how-to" / "forecast-volatility.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^```text\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), names)  # noqa: S102
    printed = capsys.readouterr().out
    # Training adds up other libraries' last bits.
    assert [float(number) for number in NUMBER.findall(printed)] == pytest.approx(
        [float(number) for number in NUMBER.findall(shown)], rel=0.02, abs=0.012
    )
    assert NUMBER.sub("", printed) == NUMBER.sub("", shown)
