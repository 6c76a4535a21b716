"""Prediction intervals: ranks by hand, what they hold of scores of known kinds, and refusals."""

import numpy as np
import pytest

from intertwine.models import intervals
from intertwine.models.intervals import Tails
from intertwine.protocols.errors import InputError


def test_tails_are_the_order_statistics_of_conformal_prediction() -> None:
    scores = np.arange(1.0, 20.0) - 5.0
    np.random.default_rng(1).shuffle(scores)
    assert intervals.calibrate(scores, 0.9) == Tails(low=4.0, high=14.0)
    assert intervals.calibrate(scores, 0.8) == Tails(low=3.0, high=13.0)


@pytest.mark.parametrize(("count", "coverage", "least"), [(18, 0.9, 19), (8, 0.8, 9), (0, 0.8, 9)])
def test_too_few_errors_make_no_band(count: int, coverage: float, least: int) -> None:
    with pytest.raises(InputError, match=f"{count} past errors are fewer than the {least}") as caught:
        intervals.calibrate(np.zeros(count), coverage)
    assert caught.value.remedy
    assert intervals.calibrate(np.zeros(least), coverage) == Tails(0, 0)


def test_a_band_follows_the_spread_and_stops_at_zero() -> None:
    """Spreads of sqrt((0 + 1) (8 + 1)) and sqrt((10 + 1) (10 + 1))."""
    steady, wild = np.full(12, 8.0), np.array([0.0, 20.0] * 6)
    windows = np.stack([steady, wild])
    low, high = intervals.band(np.array([8.0, 10.0]), windows, Tails(low=2.0, high=3.0))
    assert low == pytest.approx([2.0, 0.0])
    assert high == pytest.approx([17.0, 43.0])


def test_scores_invert_bands() -> None:
    rng = np.random.default_rng(4)
    windows, ahead = rng.poisson(9, (5, 3, 12)).astype(float), rng.uniform(0, 20, (5, 3))
    reach = np.full((5, 3), 2.5)
    _, high = intervals.band(ahead, windows, Tails(0.0, 2.5))
    assert np.allclose(intervals.scores(ahead, high, windows), reach)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_exchangeable_errors_are_held_as_promised(coverage: float) -> None:
    """Skewed errors: symmetric bands would be too wide below."""
    skewed = np.random.default_rng(3).exponential(size=(400, intervals.PAST_WEEKS)) - 1.0
    assert intervals.rolling_coverage(skewed, coverage) == pytest.approx(coverage, abs=0.02)
    tails = intervals.calibrate(skewed, coverage)
    assert 1.2 * tails.low < tails.high


def test_errors_that_grow_are_not_held_and_it_shows() -> None:
    growing = np.random.default_rng(3).normal(size=(300, intervals.PAST_WEEKS)) * np.linspace(
        1, 9, intervals.PAST_WEEKS
    )
    assert intervals.rolling_coverage(growing, 0.9) < 0.8


def test_too_few_weeks_are_refused() -> None:
    with pytest.raises(InputError, match="23 weeks of past forecasts are too few") as caught:
        intervals.rolling_coverage(np.zeros((500, 23)), 0.8)
    assert "longer history" in caught.value.remedy
