"""From how likely a vulnerability is to be exploited to which one to fix first.

How likely is a matter of the vulnerability, and of the shared model. What an exploitation would cost is a
matter of where the vulnerability sits: it is the participant's own, only orders its list, and never trains.
"""

from collections.abc import Mapping

from intertwine.models.table import Row

MAX_AMOUNT = 1e15
LEAST_COST = 0.01
COLUMNS: Mapping[str, tuple[float, float]] = {
    "exposure": (0.0, 1.0),
    "revenue_impact": (0.0, MAX_AMOUNT),
    "asset_value": (0.0, MAX_AMOUNT),
    "cost": (LEAST_COST, MAX_AMOUNT),
}
"""The optional columns and the range of each. A file that has one has a number in each of its rows."""


def stake(row: Row) -> list[float]:
    """What multiplies a row's probability to its priority; empty if the file has none of the columns.

    exposure * (revenue_impact + asset_value) / cost. Without a column exposure and cost are 1, and so is the
    sum if both of its columns are missing. InputError names row and column of what is no number in its range.
    """
    given = {name: row.number(name, *limits) for name, limits in COLUMNS.items() if name in row.cells}
    if not given:
        return []
    amounts = [given[name] for name in ("revenue_impact", "asset_value") if name in given]
    return [given.get("exposure", 1.0) * (sum(amounts) if amounts else 1.0) / given.get("cost", 1.0)]
