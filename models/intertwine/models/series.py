"""Weekly series of units: from a participant's file to the windows and features that the LSTM reads."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import pi
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intertwine.models.lstm import STEPS
from intertwine.models.table import Row, read_rows
from intertwine.protocols.errors import InputError

LEVEL_WEEKS = 8
"""A series' level is its mean over this many recent weeks."""
MIDDLE = slice(LEVEL_WEEKS // 2 - 1, LEVEL_WEEKS // 2 + 1)
"""The two middle ones of the sorted recent weeks, whose mean is their median."""
TEST_WEEKS = 12
"""The last weeks of each series are for evaluation, one step ahead; training never sees them."""
MIN_WEEKS = STEPS + 1 + TEST_WEEKS
MAX_UNITS = 10_000_000
MAX_SKUS, MAX_ROWS = 100_000, 10_000_000
"""Most products and rows of a file: they bound what reading one of any size takes of memory."""
EPOCH = date(2000, 1, 3)
"""The Monday that weeks are counted from."""

_YEAR = 365.2425 / 7
PHASE = 2 * pi / _YEAR
"""Radians of the year in one week."""


@dataclass(frozen=True)
class Series:
    """Weekly units of some products.

    skus: their names, sorted. first_week: weeks from EPOCH to the first column. units: shape (s, w), whole
    numbers of at least zero.
    """

    skus: tuple[str, ...]
    first_week: int
    units: NDArray[np.float64]

    def __len__(self) -> int:
        """The number of series."""
        return len(self.skus)

    @property
    def end_week(self) -> int:
        """The week after the last column."""
        weeks: int = self.units.shape[1]
        return self.first_week + weeks


def load(path: Path) -> Series:
    """Read `sku,week,units`, one row for each product and week; `week` is the ISO date of a Monday.

    Every product must have every week of the file, zeros included: were gaps filled up to the other
    products' weeks, one record would change the others. At most MAX_SKUS products and MAX_ROWS rows.
    """
    rows: dict[str, array[int]] = {}
    for number, row in enumerate(read_rows(path, ["sku", "week", "units"])):
        cells = rows.setdefault(row.text("sku"), array("q"))
        cells.extend((_week(row), row.line, row.count("units", MAX_UNITS)))
        if len(rows) > MAX_SKUS or number == MAX_ROWS:
            problem = f"the file goes on after {MAX_SKUS:,} SKUs or {MAX_ROWS:,} rows"
            raise row.error("sku", problem, "Choose a part of the SKUs.")
    tables = {sku: _by_week(path, rows[sku]) for sku in sorted(rows)}
    weeks = _calendar(path, tables)
    units = np.array([table[:, _UNITS] for table in tables.values()], dtype=np.float64)
    return Series(tuple(tables), weeks.start, units)


_WEEK, _LINE, _UNITS = range(3)
"""Columns of a product's table."""


def _by_week(path: Path, rows: "array[int]") -> NDArray[np.int64]:
    """A product's table in the order of weeks; InputError if a week occurs twice."""
    table = np.frombuffer(rows, dtype=np.int64).reshape(-1, 3)
    table = table[np.lexsort((table[:, _LINE], table[:, _WEEK]))]
    again = table[1:][np.diff(table[:, _WEEK]) == 0]
    if len(again):
        row = Row(path, int(again[:, _LINE].min()), {})
        raise row.error("week", "this SKU has that week twice", "Add the units up in one row.")
    return table


def _week(row: Row) -> int:
    day = row.day("week")
    if day.weekday() != 0 or day < EPOCH:
        problem = f"{day.isoformat()} is not a Monday from {EPOCH.isoformat()} on"
        raise row.error("week", problem, "Name each week by its Monday.")
    return (day - EPOCH).days // 7


def _calendar(path: Path, tables: Mapping[str, NDArray[np.int64]]) -> range:
    """The file's weeks; InputError if they are too few, or if a product lacks one."""
    ends = [table[[0, -1], _WEEK] for table in tables.values()]
    weeks = range(int(min(first for first, _ in ends)), int(max(last for _, last in ends)) + 1)
    if len(weeks) < MIN_WEEKS:
        raise InputError(
            f"{path} spans {len(weeks)} weeks, fewer than the {MIN_WEEKS} that training and testing need.",
            "Export a longer history.",
        )
    for sku, table in tables.items():
        if len(table) < len(weeks):
            raise _gap(path, sku, table, weeks)
    return weeks


def _gap(path: Path, sku: str, table: NDArray[np.int64], weeks: range) -> InputError:
    """What to tell people about the first week that a product lacks; the row is the one before the gap."""
    held = np.append(table[:, _WEEK], weeks.stop)
    place = int(np.flatnonzero(held != np.arange(weeks.start, weeks.start + len(held)))[0])
    missing = EPOCH + timedelta(weeks=weeks.start + place)
    row = Row(path, int(table[max(0, place - 1), _LINE]), {})
    problem = f"SKU {sku} has {len(table)} of the file's {len(weeks)} weeks and lacks {missing.isoformat()}"
    return row.error("week", problem, "Give one row per SKU and week, with 0 units where nothing was sold.")


@dataclass(frozen=True)
class Windows:
    """Windows of s series and the week after each, in float64.

    units: shape (s, n, 12). week: shape (n,), the target's week from EPOCH. target: its units, shape (s, n).
    """

    units: Tensor
    week: Tensor
    target: Tensor


def training_windows(series: Series, rows: slice) -> Windows:
    """Every window of the chosen series whose target is before the test weeks."""
    return _windows(series, series.units[rows, :-TEST_WEEKS], STEPS)


def test_windows(series: Series) -> Windows:
    """The twelve one-step-ahead windows of the last twelve weeks."""
    return last_windows(series, TEST_WEEKS)


def last_windows(series: Series, weeks: int) -> Windows:
    """The windows whose targets are the last so many weeks, or as many of them as have a whole window."""
    return _windows(series, series.units, max(STEPS, series.units.shape[1] - weeks))


def _windows(series: Series, units: NDArray[np.float64], first_target: int) -> Windows:
    # unfold gives the window and, as its last entry, the target.
    spans = torch.tensor(units[:, first_target - STEPS :], dtype=torch.float64).unfold(1, STEPS + 1, 1)
    week = torch.arange(first_target, units.shape[1], dtype=torch.float64) + series.first_week
    return Windows(spans[..., :-1], week, spans[..., -1])


def level(units: Tensor) -> Tensor:
    """Mean of the last 8 weeks of each window: shape (..., 12) to (...)."""
    return units[..., -LEVEL_WEEKS:].mean(dim=-1)


def median(units: Tensor) -> Tensor:
    """Median of the last 8 weeks of each window: shape (..., 12) to (...)."""
    ordered = units[..., -LEVEL_WEEKS:].sort(dim=-1).values
    return ordered[..., MIDDLE].mean(dim=-1)


def features(units: Tensor, week: Tensor) -> Tensor:
    """What the LSTM reads: units (..., 12) and the target's week (...) to shape (..., 12, 4).

    For each week of the window: its log units against the log level; the log median against the log level,
    which tells steady sales from rare bulk orders; and the season of the week after, as sine and cosine.
    """
    log_level = torch.log1p(level(units))[..., None]
    steadiness = torch.log1p(median(units))[..., None] - log_level
    phase = (week[..., None] + torch.arange(1 - STEPS, 1)) * PHASE
    parts = (torch.log1p(units) - log_level, steadiness, torch.sin(phase), torch.cos(phase))
    return torch.stack([part.expand_as(units) for part in parts], dim=-1)
