"""Back-tests of forecasters: figures computed by hand, and forecasters that cannot see the future."""

from dataclasses import replace

import numpy as np
import pytest

from intertwine.models import backtest as bt
from intertwine.models.registry import task
from intertwine.models.series import Series
from intertwine.protocols.errors import InputError

HAND = Series(("A", "B"), 0, np.array([[1.0, 3, 2, 4], [10, 14, 10, 20]]))
"""Forecast by last week's units, the last two weeks have errors 1 and 2 of A, 4 and 10 of B."""


def last_week(records: Series) -> bt.Units:
    return records.units[:, -1]


def oracle(records: Series) -> bt.Units:
    return HAND.units[:, records.units.shape[1]]


def year_of(series: int) -> Series:
    units = np.random.default_rng(2).poisson(20, (series, 70)).astype(float)
    return Series(tuple(f"S{row:02}" for row in range(series)), 1000, units)


def test_figures_of_a_small_case_by_hand() -> None:
    result = bt.backtest(last_week, HAND, weeks=2)
    assert result.ahead.tolist() == [[3, 2], [14, 10]]
    assert result.wape == pytest.approx(17 / 36)
    assert result.series_wape == pytest.approx([3 / 6, 14 / 30])
    assert result.naive_error.tolist() == [2, 4]
    assert result.series_mase == pytest.approx([0.75, 1.75])
    assert result.mase == pytest.approx(1.25)


def test_the_bootstrap_interval_of_two_series_by_hand() -> None:
    """A quarter of the draws is A twice, a quarter B twice: 95% reaches from the one to the other."""
    one, perfect = (bt.backtest(forecaster, HAND, weeks=2) for forecaster in (last_week, oracle))
    found = bt.wape_difference(one, perfect, seed=1)
    assert found == bt.Difference(*map(pytest.approx, (17 / 36, 14 / 30, 3 / 6)))
    assert bt.wape_difference(one, one, seed=1) == bt.Difference(0, 0, 0)


def test_the_seed_fixes_the_interval() -> None:
    records = year_of(30)
    one, other = (bt.backtest(forecaster, records) for forecaster in (bt.median8, bt.seasonal_naive))
    found = bt.wape_difference(one, other, seed=5)
    assert found == bt.wape_difference(one, other, seed=5)
    assert found != bt.wape_difference(one, other, seed=6)
    assert found.low < found.estimate < found.high < 0


def test_the_simple_forecasters() -> None:
    records = year_of(3)
    assert bt.median8(records).tolist() == np.median(records.units[:, -8:], axis=1).tolist()
    assert bt.seasonal_naive(records).tolist() == records.units[:, 18].tolist()


@pytest.mark.parametrize(
    "forecaster", [bt.median8, bt.model(task("forecast"), task("forecast").initial_parameters())]
)
def test_no_forecast_depends_on_its_week_or_later_ones(forecaster: bt.Forecaster) -> None:
    records = year_of(4)
    changed = records.units.copy()
    changed[:, -6:] += 500
    before, after = (
        bt.backtest(forecaster, replace(records, units=units)) for units in (records.units, changed)
    )
    assert np.array_equal(before.ahead[:, :7], after.ahead[:, :7])
    assert not np.isclose(before.ahead[:, -1], after.ahead[:, -1]).any()


def test_the_back_test_of_the_model_is_its_evaluation() -> None:
    definition, records = task("forecast"), year_of(9)
    parameters = definition.initial_parameters()
    result, found = (
        bt.backtest(bt.model(definition, parameters), records),
        definition.evaluate(parameters, records),
    )
    assert result.wape == pytest.approx(found.metric)
    assert bt.backtest(bt.median8, records).wape == pytest.approx(found.baseline)


def test_series_without_sales_or_changes_have_no_figure() -> None:
    still = replace(HAND, units=np.array([[5.0, 5, 5, 6], [1, 2, 0, 0]]))
    result = bt.backtest(last_week, still, weeks=2)
    assert np.isnan(result.series_mase).tolist() == [True, False]
    assert np.isnan(result.series_wape).tolist() == [False, True]
    assert result.mase == pytest.approx(1.0)
    nothing = bt.backtest(last_week, replace(HAND, units=np.zeros((2, 4))), weeks=2)
    with pytest.raises(InputError, match="Nothing was sold"):
        _ = nothing.wape
    with pytest.raises(InputError, match="No series ever changed"):
        _ = nothing.mase


def test_the_table_names_everyone_and_the_difference() -> None:
    results = {"last week": bt.backtest(last_week, HAND, 2), "oracle": bt.backtest(oracle, HAND, 2)}
    header, *rows = bt.table(results, "oracle").splitlines()
    assert "against oracle (95%)" in header
    assert rows[0].split() == [
        "last",
        "week",
        "0.472",
        "1.250",
        "0.483",
        "+0.4722",
        "(+0.4667",
        "to",
        "+0.5000)",
    ]
    assert rows[1].split() == ["oracle", "0.000", "0.000", "0.000"]


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(InputError, match="3 weeks of 4"):
        bt.backtest(last_week, HAND, weeks=3)
    with pytest.raises(InputError, match="needs 52 weeks"):
        bt.backtest(bt.seasonal_naive, HAND, weeks=2)
    one, other = bt.backtest(last_week, HAND, weeks=2), bt.backtest(last_week, HAND, weeks=1)
    with pytest.raises(InputError, match="different series or weeks"):
        bt.wape_difference(one, other, seed=1)
