"""How good forecasters of weekly series are: one step ahead from a rolling origin, each on the same weeks.

A forecaster sees the series up to an origin and nothing later. WAPE is all units of error over all that were
sold. MASE is a series' mean error over that of the naive forecast, last week's units, on the weeks before the
first origin (Hyndman and Koehler 2006, section 3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.models import lstm, series
from intertwine.models.series import Series
from intertwine.models.task import Parameters, Task
from intertwine.protocols.errors import InputError

Units: TypeAlias = NDArray[np.float64]
Forecaster: TypeAlias = Callable[[Series], Units]
"""From series to the units of the week after their last, shape (s,)."""

YEAR = 52
_DRAWS_AT_ONCE = 200


@dataclass(frozen=True)
class Backtest:
    """A forecaster's one-step forecasts of the same weeks of s series.

    ahead, target: units, shape (s, n). naive_error: mean change from week to week before the first origin,
    shape (s,).
    """

    ahead: Units
    target: Units
    naive_error: Units

    @property
    def series_wape(self) -> Units:
        """WAPE of each series, shape (s,); not a number where nothing was sold."""
        return _ratio(self._error.sum(axis=1), self.target.sum(axis=1))

    @property
    def wape(self) -> float:
        """WAPE of all series together; InputError if nothing was sold."""
        return _wape(self._error, self.target)

    @property
    def series_mase(self) -> Units:
        """MASE of each series, shape (s,); not a number where nothing changed before the first origin."""
        return _ratio(self._error.mean(axis=1), self.naive_error)

    @property
    def mase(self) -> float:
        """Mean MASE over the series that have one; InputError if none has."""
        known = self.series_mase[np.isfinite(self.series_mase)]
        if not known.size:
            raise InputError("No series ever changed before the first origin.", "Give a longer history.")
        return float(known.mean())

    @property
    def _error(self) -> Units:
        return np.abs(self.ahead - self.target)


@dataclass(frozen=True)
class Difference:
    """A difference of WAPEs, and the ends of its interval."""

    estimate: float
    low: float
    high: float


def backtest(forecaster: Forecaster, records: Series, weeks: int = series.TEST_WEEKS) -> Backtest:
    """Forecast each of the last `weeks` weeks from those before it; InputError if none or one is left."""
    first = records.units.shape[1] - weeks
    if weeks < 1 or first < 2:
        raise InputError(
            f"{weeks} weeks of {records.units.shape[1]} cannot be tested.",
            "Test from 1 to all but 2 of them.",
        )
    origins = range(first, first + weeks)
    ahead = [forecaster(replace(records, units=records.units[:, :origin])) for origin in origins]
    naive_error = np.abs(np.diff(records.units[:, :first], axis=1)).mean(axis=1)
    return Backtest(np.stack(ahead, axis=1), records.units[:, first:], naive_error)


def wape_difference(
    one: Backtest, other: Backtest, seed: int, *, draws: int = 2000, confidence: float = 0.95
) -> Difference:
    """WAPE of one minus that of the other, with its percentile bootstrap interval over series.

    Both must be of the same series and weeks. Series are drawn with replacement, whole, as one's weeks go
    together; the same draw serves both. The same seed gives the same interval.
    """
    if not np.array_equal(one.target, other.target):
        raise InputError("The two are of different series or weeks.", "Compare them on the same ones.")
    gain = (np.abs(one.ahead - one.target) - np.abs(other.ahead - other.target)).sum(axis=1)
    sold = one.target.sum(axis=1)
    generator, count, found = np.random.default_rng(seed), len(sold), []
    for start in range(0, draws, _DRAWS_AT_ONCE):
        drawn = generator.integers(count, size=(min(_DRAWS_AT_ONCE, draws - start), count))
        found.append(_ratio(gain[drawn].sum(axis=1), sold[drawn].sum(axis=1)))
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(np.concatenate(found), [tail, 1.0 - tail])
    return Difference(one.wape - other.wape, float(low), float(high))


def table(results: Mapping[str, Backtest], baseline: str, seed: int = 0) -> str:
    """A row for each forecaster: WAPE, MASE, the median of its series' WAPE, and WAPE against `baseline`."""
    width = max(map(len, results))
    lines = [f"{'forecaster':<{width}}   WAPE   MASE  median of series  against {baseline} (95%)"]
    for name, result in results.items():
        figures = f"{result.wape:6.3f} {result.mase:6.3f} {np.nanmedian(result.series_wape):17.3f}"
        against = ""
        if name != baseline:
            found = wape_difference(result, results[baseline], seed)
            against = f"  {found.estimate:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        lines.append(f"{name:<{width}} {figures}{against}")
    return "\n".join(lines)


def model(task: Task[Series], parameters: Parameters) -> Forecaster:
    """A task's model with these parameters: the LSTM's or the linear control's."""

    def forecaster(records: Series) -> Units:
        week = np.full(len(records), records.end_week, dtype=np.float64)
        inputs = {"units": records.units[:, -lstm.STEPS :], "week": week}
        found: Units = task.reference(parameters, inputs)["forecast"]
        return found

    return forecaster


def median8(records: Series) -> Units:
    """The median of the last 8 weeks: the bar."""
    found: Units = np.median(_last(records, series.LEVEL_WEEKS), axis=1)
    return found


def seasonal_naive(records: Series) -> Units:
    """The units of 52 weeks before."""
    return _last(records, YEAR)[:, 0]


def _last(records: Series, weeks: int) -> Units:
    if records.units.shape[1] < weeks:
        problem = f"A forecast needs {weeks} weeks, and there are {records.units.shape[1]}."
        raise InputError(problem, "Test fewer weeks, or give a longer history.")
    return records.units[:, -weeks:]


def _wape(error: Units, target: Units) -> float:
    sold = float(target.sum())
    if sold <= 0.0:
        raise InputError("Nothing was sold in the weeks of the test.", "Choose other weeks or series.")
    return float(error.sum()) / sold


def _ratio(part: Units, whole: Units) -> Units:
    """part / whole, not a number where whole is 0."""
    ratio: Units = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0.0)
    return ratio
