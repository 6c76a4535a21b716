"""Daily closing prices: from a file, or those that skfolio brings (`intertwine[finance]`)."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.models.table import read_rows
from intertwine.protocols.errors import InputError, missing_package

Values: TypeAlias = NDArray[np.float64]

LONGEST_GAP = 10
"""Most calendar days from one price to the next; exchanges have been closed for seven."""
SPLITS = (2, 3, 4, 5, 10, 20)
MAX_CLOSE = 1e9
SP500_FIRST = date(2000, 1, 1)
"""Before, prices moved in sixteenths of a dollar and more, and one of these jumps as after a split."""


@dataclass(frozen=True)
class Prices:
    """Closes of a assets on d days, adjusted for splits, with every asset on every day.

    days: in order, at most LONGEST_GAP apart. closes: shape (d, a), above 0. InputError names the first that
    is not so, or that is a whole multiple or fraction of the day before, within 1%.
    """

    assets: tuple[str, ...]
    days: tuple[date, ...]
    closes: Values

    def __post_init__(self) -> None:
        for before, day in zip(self.days, self.days[1:], strict=False):
            if not 0 < (day - before).days <= LONGEST_GAP:
                problem = f"The next prices after {before} are those of {day}."
                raise InputError(problem, f"Give days in order, at most {LONGEST_GAP} apart.")
        self._refuse(
            ~((self.closes > 0.0) & (self.closes <= MAX_CLOSE)),
            f"is not a price above 0, up to {MAX_CLOSE:g}",
            "Correct it, or leave out the asset or the days before.",
        )
        change = np.exp(np.abs(np.diff(np.log(self.closes), axis=0, prepend=np.log(self.closes[:1]))))
        self._refuse(
            np.any([np.abs(change / split - 1.0) < 0.01 for split in SPLITS], axis=0),
            "is a multiple or fraction of the day before, as after a split",
            "Give prices adjusted for splits, or leave out the asset or the days before.",
        )

    def _refuse(self, wrong: NDArray[np.bool_], problem: str, remedy: str) -> None:
        if wrong.any():
            day, asset = np.argwhere(wrong)[0]
            close = f"The close of {self.assets[asset]} on {self.days[day]}, {self.closes[day, asset]:g},"
            raise InputError(f"{close} {problem}.", remedy)


def load(path: Path) -> Prices:
    """Read `asset,day,close`, one row for each asset and day of the file; `day` is an ISO date."""
    cells: dict[str, dict[date, float]] = {}
    for row in read_rows(path, ["asset", "day", "close"]):
        own = cells.setdefault(row.text("asset"), {})
        day = row.day("day")
        if day in own:
            raise row.error("day", "this asset has that day twice", "Remove one of the two rows.")
        own[day] = row.number("close", 0.0, MAX_CLOSE)
    days = sorted(set().union(*cells.values()))
    for asset, own in cells.items():
        if len(own) < len(days):
            missing = next(day for day in days if day not in own)
            problem = f"{path}: {asset} has no close on {missing}, others have."
            raise InputError(problem, "Give one row per asset and day, or leave out the asset or the day.")
    assets = tuple(sorted(cells))
    return Prices(assets, tuple(days), np.array([[cells[asset][day] for asset in assets] for day in days]))


def sp500() -> Prices:
    """Twenty stocks of the S&P 500, adjusted, from SP500_FIRST to 2022, as skfolio's package holds them."""
    try:
        from skfolio.datasets import load_sp500_dataset  # noqa: PLC0415 — an extra, and takes seconds to load
    except ImportError as error:
        raise missing_package("skfolio is not installed.", "finance") from error
    found = load_sp500_dataset().loc[SP500_FIRST.isoformat() :]
    days = tuple(day.date() for day in found.index)
    return Prices(tuple(found.columns), days, found.to_numpy(dtype=np.float64))
