"""Prediction intervals from a participant's own past errors: split conformal prediction, rolled forward.

The errors of the last weeks, each in units of its series' recent spread, say how wide a band must be now
(Lei et al. 2018, section 2.2; each tail apart, as in Romano, Patterson and Candes 2019, theorem 2). All of it
happens after a model is published, on the machine of the participant whose errors they are: nothing leaves
it, and it costs nobody any privacy.

If past and present errors were exchangeable, a band would hold at least what it promises, on average. Weeks
of sales are not quite, and series share their seasons. So no band is made unless earlier bands of the same
making can be counted.

Spread and weeks of calibration were chosen on training data, the demo's files without their last 12 weeks: of
seven spreads, the one whose bands hold about as much of the largest tenth of the series as of all, at no loss
in the mean interval score; and of 12 and 26 weeks, those that hold more nearly what they promise.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.models.series import LEVEL_WEEKS, TEST_WEEKS
from intertwine.protocols.errors import InputError

Units: TypeAlias = NDArray[np.float64]
"""Units of series, or what comes of them; the first axis is the series."""

CALIBRATION_WEEKS = TEST_WEEKS
"""Weeks whose errors make a band. Next week's come from the file's last, which training never saw."""
COUNTED_WEEKS = TEST_WEEKS
PAST_WEEKS = CALIBRATION_WEEKS + COUNTED_WEEKS
"""Weeks of past forecasts that a band takes, the counting of earlier bands included."""


@dataclass(frozen=True)
class Tails:
    """How far a band reaches, in units of a series' spread: low below the forecast, high above it.

    Either may be negative: then the forecasts were off to one side.
    """

    low: float
    high: float


def scores(ahead: Units, target: Units, windows: Units) -> Units:
    """Errors of forecasts in units of spread: shapes (s, n), (s, n) and (s, n, 12) to (s, n)."""
    return (target - ahead) / _spread(windows)


def calibrate(past: Units, coverage: float) -> Tails:
    """The tails that hold `coverage`, in (0, 1), of one more score; half of the rest is beyond each.

    past: scores of any shape. InputError if they are too few for so rare an error: fewer than 19 for 90%.
    """
    ordered, beyond = np.sort(past, axis=None), (1.0 - coverage) / 2.0
    # Rounded: (1 - 0.9) / 2 is a little below 0.05, and a whole rank must not be lost to that.
    rank = floor(round((len(ordered) + 1) * beyond, 9))
    if rank < 1:
        raise InputError(
            f"{len(ordered)} past errors are fewer than the {ceil(round(1 / beyond, 9)) - 1} that a band of "
            f"{coverage:.0%} needs.",
            "Give more weeks or more series.",
        )
    return Tails(low=-float(ordered[rank - 1]), high=float(ordered[-rank]))


def band(ahead: Units, windows: Units, tails: Tails) -> tuple[Units, Units]:
    """Lower and upper ends, at least 0: forecasts (...) with their windows (..., 12) to two of (...)."""
    spread = _spread(windows)
    return np.maximum(ahead - tails.low * spread, 0.0), np.maximum(ahead + tails.high * spread, 0.0)


def rolling_coverage(past: Units, coverage: float) -> float:
    """The part of the last 12 weeks' targets inside bands that were made from the 12 weeks before each.

    past: scores, shape (s, n), in the order of the weeks. InputError if n is below 24.
    """
    weeks = past.shape[1]
    if weeks < PAST_WEEKS:
        raise InputError(
            f"{weeks} weeks of past forecasts are too few: {CALIBRATION_WEEKS} make a band, and "
            f"{COUNTED_WEEKS} more show what bands hold.",
            "Export a longer history.",
        )
    held = []
    for week in range(weeks - COUNTED_WEEKS, weeks):
        tails = calibrate(past[:, week - CALIBRATION_WEEKS : week], coverage)
        # To cut a band off at 0 changes nothing here: no target is below.
        held.append((past[:, week] >= -tails.low) & (past[:, week] <= tails.high))
    return float(np.mean(held))


def _spread(windows: Units) -> Units:
    """How far a series' weeks may be off: windows (..., 12) to (...), in units.

    The geometric mean of their mean distance from their median, and of their mean in the last weeks, each
    plus one unit. By the first alone, bands of the largest series would be too narrow; by the second alone,
    those of the smallest.
    """
    median = np.median(windows, axis=-1, keepdims=True)
    distance = np.abs(windows - median).mean(axis=-1)
    level = windows[..., -LEVEL_WEEKS:].mean(axis=-1)
    spread: Units = np.sqrt((distance + 1.0) * (level + 1.0))
    return spread
