"""`POST /v1/forecasts`: the units of products in a coming week."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from intertwine.client.published import PublishedModel
from intertwine.client.serving.documents import WHOLE, Day, ModelReference, Query
from intertwine.client.serving.shallow import ShallowRoute
from intertwine.models import intervals, lstm, series
from intertwine.models.forecast import COVERAGES, ForecastTask, calibrated
from intertwine.models.intervals import Tails
from intertwine.models.series import Series
from intertwine.protocols.errors import InputError

PATH = "/v1/forecasts"
MAX_SERIES = 256
MAX_WEEKS = 520
MAX_NAME = 200


class WeeklyUnits(Query):
    """Units sold of one product, week by week up to the one before the week to forecast, the oldest first."""

    sku: Annotated[str, Field(max_length=MAX_NAME)] = ""
    units: Annotated[
        list[Annotated[int, Field(ge=0, le=series.MAX_UNITS), WHOLE]],
        Field(min_length=lstm.STEPS, max_length=MAX_WEEKS),
    ]


class ForecastQuery(Query):
    """Series that all end in the week before the one to forecast. week: any day of the week to forecast."""

    week: Day
    series: Annotated[list[WeeklyUnits], Field(min_length=1, max_length=MAX_SERIES)]


class Band(BaseModel):
    """Ends that should hold the true units with probability `coverage`. held: what such bands held lately."""

    low: float
    high: float
    coverage: float
    held: float


class Forecast(BaseModel):
    """One product's units in the week. median: of its last 8 weeks, to compare with.

    band: null if the participant's own history is too short to calibrate one.
    """

    sku: str
    units: float
    median: float
    band: Band | None


class ForecastAnswer(BaseModel):
    """A forecast for each series, in their order. week: the Monday of the week."""

    model: ModelReference
    week: date
    forecasts: list[Forecast]


class Forecaster:
    """The shared model, with bands that its errors on the participant's own last weeks make."""

    def __init__(self, model: PublishedModel, task: ForecastTask, records: Series) -> None:
        self.model = model
        self._session = model.session()
        self._tails, self._held = self._calibrate(task, records)

    def _calibrate(self, task: ForecastTask, records: Series) -> tuple[Tails | None, float]:
        """The tails of a band, and what such bands held lately; None if the past is too short."""
        ahead = self._session.run(task.inputs(records))["forecast"].reshape(-1, len(records))
        try:
            tails, held = calibrated(records, ahead[1:].T)
        except InputError:
            return None, 0.0
        return tails, held[0]

    def answer(self, query: ForecastQuery) -> ForecastAnswer:
        """Forecast every series of a request."""
        monday = query.week - timedelta(days=query.week.weekday())
        windows = np.array([each.units[-lstm.STEPS :] for each in query.series], dtype=np.float64)
        weeks = np.full(len(windows), (monday - series.EPOCH).days / 7)
        ahead = self._session.run({"units": windows, "week": weeks})["forecast"]
        medians = np.median(windows[:, -series.LEVEL_WEEKS :], axis=1)
        forecasts = [
            Forecast(sku=each.sku, units=float(units), median=float(median), band=band)
            for each, units, median, band in zip(
                query.series, ahead, medians, self._bands(ahead, windows), strict=True
            )
        ]
        return ForecastAnswer(model=ModelReference.of(self.model), week=monday, forecasts=forecasts)

    def _bands(self, ahead: intervals.Units, windows: intervals.Units) -> list[Band | None]:
        if self._tails is None:
            return [None] * len(ahead)
        low, high = intervals.band(ahead, windows, self._tails)
        return [
            Band(low=float(lower), high=float(upper), coverage=COVERAGES[0], held=self._held)
            for lower, upper in zip(low, high, strict=True)
        ]


def router(current: Callable[[], Forecaster]) -> APIRouter:
    """The endpoint, over whatever predicts at the time of a request."""
    found = APIRouter(route_class=ShallowRoute)

    @found.post(PATH)
    def forecasts(query: ForecastQuery) -> ForecastAnswer:
        """Units of each product in the week, with bands if the participant's history calibrates them."""
        return current().answer(query)

    return found
