"""The forecaster on Online Retail II: ten shops that each hold the products of some families.

One step ahead over the last 12 weeks of all 1,238 series, which training never sees.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from deploy.bench.tasks.dealing import holder
from deploy.demo.data import write_participant_files
from intertwine.models import backtest, intervals, series
from intertwine.models.backtest import Backtest
from intertwine.models.forecast import COVERAGES, ForecastTask
from intertwine.models.forecast_control import RECIPE as CONTROL_RECIPE
from intertwine.models.forecast_control import ForecastControl
from intertwine.models.recipes import recipe
from intertwine.models.series import Series
from intertwine.models.simulation import Participants, for_epsilon, plan_of, record_epsilon
from intertwine.models.task import Parameters

NAME = "forecast"
PARTICIPANTS = 10
FAMILY = 5
"""Leading digits of a stock code that the variants of one product share."""
SHOWN_WEEKS = 40


class Example(TypedDict):
    """One product's units in the last 40 weeks, and forecasts of the last 12 of them.

    low, high: the band about each forecast that is to hold COVERAGES[0] of them.
    """

    sku: str
    units: list[float]
    ahead: list[float]
    low: list[float]
    high: list[float]


def cell(epsilon: float, seed: int) -> dict[str, float]:
    """One federation: errors of its model and of the linear control; `delta_*` is WAPE minus median8's."""
    private = for_epsilon(ForecastTask(), recipe(NAME), epsilon)
    found = {"epsilon": record_epsilon(plan_of(ForecastTask(), private, len(shops())))}
    found |= _figures(_tested(_cohort().simulate(private, seed).parameters), seed)
    definition = ForecastControl()
    cohort = Participants(definition, shops())
    control = cohort.simulate(for_epsilon(definition, CONTROL_RECIPE, epsilon), seed).parameters
    return found | {"control_wape": backtest.backtest(backtest.model(definition, control), pooled()).wape}


def baselines() -> dict[str, float]:
    """Forecasters without a model, each shop alone, and the same training without noise."""
    cohort = _cohort()
    median = backtest.backtest(backtest.median8, pooled())
    nonprivate = _tested(cohort.simulate(recipe(NAME), 0, noise=False).parameters)
    alone = [_alone(shop) for shop in shops()]
    return {
        "median8_wape": median.wape,
        "median8_mase": median.mase,
        "seasonal_naive_wape": backtest.backtest(backtest.seasonal_naive, pooled()).wape,
        "local_only_wape": _joined(alone).wape,
        "local_only_mase": _joined(alone).mase,
        "nonprivate_wape": nonprivate.wape,
        "nonprivate_mase": nonprivate.mase,
        "participants": len(alone),
    }


def example() -> Example:
    """One model's forecasts of the product that sells most in the test weeks, at epsilon 3."""
    records, weeks = pooled(), series.TEST_WEEKS + intervals.CALIBRATION_WEEKS
    private = for_epsilon(ForecastTask(), recipe(NAME), 3.0)
    parameters = _cohort().simulate(private, seed=0).parameters
    tested = backtest.backtest(backtest.model(ForecastTask(), parameters), records, weeks)
    windows = series.last_windows(records, weeks).units.numpy()
    scores = intervals.scores(tested.ahead, tested.target, windows)
    row = int(tested.target[:, -series.TEST_WEEKS :].sum(axis=1).argmax())
    ends = []
    for week in range(intervals.CALIBRATION_WEEKS, weeks):
        tails = intervals.calibrate(scores[:, week - intervals.CALIBRATION_WEEKS : week], COVERAGES[0])
        ends.append(intervals.band(tested.ahead[row, week], windows[row, week], tails))
    low, high = np.array(ends).T.tolist()
    return {
        "sku": records.skus[row],
        "units": records.units[row, -SHOWN_WEEKS:].tolist(),
        "ahead": tested.ahead[row, -series.TEST_WEEKS :].tolist(),
        "low": low,
        "high": high,
    }


@cache
def pooled() -> Series:
    """Every series that ships with the demo."""
    with TemporaryDirectory() as folder:
        held = write_participant_files(Path(folder)).values()
        parts = [ForecastTask().load(files[NAME]) for files in held if NAME in files]
    return _together(parts)


@cache
def shops() -> tuple[Series, ...]:
    """The ten shops' series."""
    records = pooled()
    owner = np.array([holder(sku[:FAMILY], PARTICIPANTS) for sku in records.skus])
    return tuple(_taken(records, np.flatnonzero(owner == shop)) for shop in range(PARTICIPANTS))


@cache
def _cohort() -> Participants[Series]:
    return Participants(ForecastTask(), shops())


def _tested(parameters: Parameters) -> Backtest:
    return backtest.backtest(backtest.model(ForecastTask(), parameters), pooled())


def _figures(tested: Backtest, seed: int) -> dict[str, float]:
    difference = backtest.wape_difference(tested, backtest.backtest(backtest.median8, pooled()), seed)
    return {
        "wape": tested.wape,
        "mase": tested.mase,
        "delta": difference.estimate,
        "delta_low": difference.low,
        "delta_high": difference.high,
    }


def _alone(shop: Series) -> Backtest:
    """The shop's own model on its own series, without noise, as nothing leaves it."""
    own = replace(recipe(NAME), normaliser=str(len(shop)))
    trained = Participants(ForecastTask(), [shop]).simulate(own, 0, noise=False)
    return backtest.backtest(backtest.model(ForecastTask(), trained.parameters), shop)


def _joined(parts: list[Backtest]) -> Backtest:
    """The back-tests of several shops as one."""
    return Backtest(
        np.concatenate([part.ahead for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.naive_error for part in parts]),
    )


def _together(parts: list[Series]) -> Series:
    skus = tuple(sku for part in parts for sku in part.skus)
    return replace(parts[0], skus=skus, units=np.concatenate([part.units for part in parts]))


def _taken(records: Series, rows: NDArray[np.intp]) -> Series:
    return Series(tuple(records.skus[row] for row in rows), records.first_week, records.units[rows])
