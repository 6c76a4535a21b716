"""Next week's volatility of prices: the forecaster's LSTM, its linear control, and two that need no training.

Prices are public, so nothing here is private or federated: it is the same module on other series. A week is
five trading days, counted back from the last one. Its realised variance is the sum of its squared daily log
returns (Andersen and Bollerslev 1998), and that is what is forecast, one week ahead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from intertwine.models import lstm
from intertwine.models.lstm import LSTM
from intertwine.models.prices import Prices, Values
from intertwine.protocols.errors import InputError

DAYS = 5
"""Trading days in a week."""
MONTH = 22
"""Trading days in a month."""
YEAR = 52
"""Weeks before the first forecast."""
TEST_WEEKS = 8 * YEAR
"""The last weeks, which no parameter has seen."""
_LEAST_VARIANCE = DAYS * 1e-8
"""A week in which the price stood still counts as one of moves of 0.01% a day."""
_DECAY = 0.94
"""RiskMetrics' factor for daily data (J.P. Morgan and Reuters 1996)."""
_EPOCHS, _BATCH, _RATE = 20, 512, 0.003
"""Of five choices of epochs and rate, those with the lowest QLIKE on the 208 weeks before the test, after
training on the weeks before these."""


@dataclass(frozen=True)
class Weeks:
    """Daily log returns by week, shape (w, 5, a); the first days of the prices are left out if need be.

    first_test: the week from which on no parameter may be fitted.
    """

    returns: Values
    first_test: int

    @property
    def variance(self) -> Values:
        """Realised variance of each week, shape (w, a)."""
        found: Values = np.maximum((self.returns**2).sum(axis=1), _LEAST_VARIANCE)
        return found


Forecaster: TypeAlias = Callable[[Weeks], Values]
"""From w weeks to forecasts of the variance of weeks YEAR to w, shape (w - YEAR + 1, a).

Each is made from the weeks before it, the last one for the week to come; parameters are fitted before
`first_test`.
"""


def weeks(prices: Prices, test_weeks: int = TEST_WEEKS) -> Weeks:
    """Cut prices into weeks; InputError unless as many come before the test, after the first year."""
    returns = np.diff(np.log(prices.closes), axis=0)
    count = len(returns) // DAYS
    if test_weeks < 1 or count < YEAR + 2 * test_weeks:
        raise InputError(
            f"{count} weeks of prices cannot be tested on {test_weeks}: a year and twice as many are needed.",
            "Give a longer history or test fewer weeks.",
        )
    cut = returns[len(returns) - count * DAYS :]
    return Weeks(cut.reshape(count, DAYS, -1), count - test_weeks)


def last_week(given: Weeks) -> Values:
    """The week before's variance: the trivial forecast."""
    return given.variance[YEAR - 1 :]


def ewma(given: Weeks) -> Values:
    """Exponentially weighted mean of the squared daily returns, as RiskMetrics has it, for five days."""
    squares = given.returns.reshape(-1, given.returns.shape[2]) ** 2
    mean = squares[:MONTH].mean(axis=0)
    found = []
    for day, square in enumerate(squares, start=1):
        mean = _DECAY * mean + (1.0 - _DECAY) * square
        if day % DAYS == 0:
            found.append(np.maximum(DAYS * mean, _LEAST_VARIANCE))
    return np.array(found[YEAR - 1 :])


def har(given: Weeks) -> Values:
    """The heterogeneous autoregression of Corsi (2009): one fit by ordinary least squares for each asset.

    Next week's volatility is linear in that of the last day, week and month. Forecasts stay within what was
    seen in training; a factor then makes their squares unbiased there.
    """
    daily = np.abs(given.returns.reshape(-1, given.returns.shape[2]))
    day = daily[DAYS * YEAR - 1 :: DAYS] * np.sqrt(DAYS)
    months = sliding_window_view(daily**2, MONTH, axis=0).sum(axis=-1)
    month = np.sqrt(months[DAYS * YEAR - MONTH :: DAYS] * DAYS / MONTH)
    terms = np.stack([np.ones_like(day), day, np.sqrt(given.variance[YEAR - 1 :]), month], axis=-1)
    known = slice(0, given.first_test - YEAR)
    target = np.sqrt(given.variance[YEAR : given.first_test])
    found: Values = np.empty_like(day)
    for asset in range(found.shape[1]):
        fit, *_ = np.linalg.lstsq(terms[known, asset], target[:, asset])
        ahead = np.clip(terms[:, asset] @ fit, target[:, asset].min(), target[:, asset].max()) ** 2
        found[:, asset] = ahead * (target[:, asset] ** 2 / ahead[known]).mean()
    return found


def lstm16(given: Weeks) -> Values:
    """The forecaster's module, one for all assets, trained to the least QLIKE by Adam; its seed is fixed.

    It multiplies the mean variance of its window, 12 weeks; untrained, it forecasts just that.
    """
    level, features = _features(given)
    known = slice(0, given.first_test - YEAR)
    ratio = torch.from_numpy(given.variance[YEAR : given.first_test] / level[known]).flatten()
    inputs = torch.from_numpy(features[known]).flatten(0, 1)
    module = LSTM.from_vector(lstm.initial_parameters())
    optimizer = torch.optim.Adam(module.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(0)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(inputs), generator=generator), _BATCH):
            optimizer.zero_grad()
            output = module(inputs[rows])
            # QLIKE of exp(output), up to a term that no parameter moves.
            (ratio[rows] * torch.exp(-output) + output).mean().backward()
            optimizer.step()
    with torch.no_grad():
        found: Values = level * torch.exp(module(torch.from_numpy(features))).numpy()
    return found


def _features(given: Weeks) -> tuple[Values, Values]:
    """Mean variance of each forecast's window, shape (f, a), and what the LSTM reads, shape (f, a, 12, 4).

    For each week of the window: its volatility, its return and its last day's move, against the window's
    volatility; and that against the past year's.
    """
    variance = given.variance

    def windows(values: Values) -> Values:
        return sliding_window_view(values, lstm.STEPS, axis=0)[YEAR - lstm.STEPS :]

    level = windows(variance).mean(axis=-1)
    year = sliding_window_view(variance, YEAR, axis=0).mean(axis=-1)
    spread = np.sqrt(level)[..., None]
    parts = (
        np.log(windows(variance) / level[..., None]) / 2,
        windows(given.returns.sum(axis=1)) / spread,
        windows(np.abs(given.returns[:, -1])) * np.sqrt(DAYS) / spread,
        np.log(year / level)[..., None] / 2,
    )
    return level, np.stack([np.broadcast_to(part, parts[0].shape) for part in parts], axis=-1)


FORECASTERS: Mapping[str, Forecaster] = MappingProxyType(
    {"last week": last_week, "EWMA": ewma, "HAR": har, "LSTM": lstm16}
)
CONTROL = "HAR"
_NORMAL = 1.96
"""Standard errors to either side of a 95% interval."""


def qlike(ahead: Values, realised: Values) -> Values:
    """A variance forecast's loss, at least 0: it ranks forecasts rightly although `realised` is noisy.

    Patton 2011. Both of one shape, above 0, and so is the loss.
    """
    ratio = realised / ahead
    losses: Values = ratio - np.log(ratio) - 1.0
    return losses


def volatility(variance: Values) -> Values:
    """A week's variance as annual volatility in percent."""
    found: Values = 100.0 * np.sqrt(variance * YEAR)
    return found


def table(given: Weeks, found: Mapping[str, Values]) -> str:
    """A row for each forecaster, over the test weeks; found: what each `Forecaster` gave, by its name.

    Mean QLIKE, root mean squared error of annual volatility in points, and QLIKE against the control's with a
    95% interval from the weeks' means (Diebold and Mariano 1995, at one step ahead).
    """
    realised = given.variance[given.first_test :]
    tested = {name: _tested(given, ahead) for name, ahead in found.items()}
    losses = {name: qlike(ahead, realised) for name, ahead in tested.items()}
    lines = [f"forecaster   QLIKE  RMSE of volatility  QLIKE against {CONTROL} (95%)"]
    for name, ahead in tested.items():
        rmse = np.sqrt(np.mean((volatility(ahead) - volatility(realised)) ** 2))
        against = (losses[name] - losses[CONTROL]).mean(axis=1)
        reach = _NORMAL * against.std(ddof=1) / np.sqrt(len(against))
        versus = "" if name == CONTROL else f"  {against.mean():+.3f} ± {reach:.3f}"
        lines.append(f"{name:<10} {losses[name].mean():7.3f} {rmse:19.1f}{versus}")
    return "\n".join(lines)


def portfolio_table(given: Weeks, found: Mapping[str, Values]) -> str:
    """What forecasts are worth to one who weights assets by the inverse of their volatility, every week anew.

    Annual Sharpe ratios over the test weeks, without costs and interest, and each against equal weights, 1/N,
    with a 95% interval (Jobson and Korkie 1981, corrected by Memmel 2003).
    """
    returns = np.expm1(given.returns[given.first_test :].sum(axis=1))
    equal = returns.mean(axis=1)
    lines = [
        "weights by   Sharpe ratio  against 1/N (95%)",
        f"{'1/N':<10} {_sharpe(equal) * YEAR**0.5:14.2f}",
    ]
    for name, ahead in found.items():
        weights = 1.0 / np.sqrt(_tested(given, ahead))
        own = (returns * weights).sum(axis=1) / weights.sum(axis=1)
        ours, theirs = _sharpe(own), _sharpe(equal)
        alike = np.corrcoef(own, equal)[0, 1]
        variance = 2.0 * (1.0 - alike) + (ours**2 + theirs**2 - 2.0 * ours * theirs * alike**2) / 2.0
        reach = _NORMAL * np.sqrt(variance / len(own) * YEAR)
        gain = (ours - theirs) * YEAR**0.5
        lines.append(f"{name:<10} {ours * YEAR**0.5:14.2f}  {gain:+.2f} ± {reach:.2f}")
    return "\n".join(lines)


def _tested(given: Weeks, ahead: Values) -> Values:
    """Of a forecaster's forecasts, those of the test weeks."""
    return ahead[given.first_test - YEAR : -1]


def _sharpe(returns: Values) -> float:
    """Sharpe ratio of a week."""
    return float(returns.mean() / returns.std(ddof=1))
