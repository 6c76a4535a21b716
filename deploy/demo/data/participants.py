"""Deal the demo's data out to four invented participants, each task's file in the format that it reads."""

import csv
import hashlib
import io
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.demo.data.simulate import portfolio

HERE = Path(__file__).parent
RETAILER = "harbour-retail"
CREATOR = "studio-lumen"
SMB = "corner-supply"
SECURITY = "redoubt-security"

FORECAST_SHARES = {RETAILER: 70, SMB: 30}
"""Percent of the product families."""
RECOMMENDATION_SHARES = {RETAILER: 60, CREATOR: 15, SMB: 25}
"""Percent of the customers."""
PORTFOLIOS = {SMB: (5800, 12), SECURITY: (11_600, 11)}
"""Rows and seed of the invented vulnerability portfolios; their training records just fit 1 and 2 pages."""


def write_participant_files(root: Path) -> dict[str, dict[str, Path]]:
    """Write each participant's files below `root` and return them by participant and task."""
    files: dict[str, dict[str, Path]] = {name: {} for name in (RETAILER, CREATOR, SMB, SECURITY)}
    for name in FORECAST_SHARES:
        rows = (row for family, row in _weekly_units() if _owner(family, FORECAST_SHARES) == name)
        files[name]["forecast"] = _write(root / name / "weekly_units.csv", ("sku", "week", "units"), rows)
    for name in RECOMMENDATION_SHARES:
        pairs = (pair for pair in _purchases() if _owner(pair[0], RECOMMENDATION_SHARES) == name)
        files[name]["recommendation"] = _write(root / name / "purchases.csv", ("customer", "item"), pairs)
    for name, (size, seed) in PORTFOLIOS.items():
        path = root / name / "simulated_vulnerabilities.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(portfolio(name.partition("-")[0], size, seed), encoding="utf-8")
        files[name]["risk"] = path
    return files


def _owner(key: str, shares: dict[str, int]) -> str:
    """Who holds `key`: decided by its hash, in proportion to the shares."""
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    raise ValueError("the shares do not add up to 100")


def _table(name: str) -> Iterator[list[str]]:
    with lzma.open(HERE / name, "rt", encoding="utf-8", newline="") as text:
        yield from csv.reader(text)


def _weekly_units() -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Family, SKU, week and units. A family is a stock code's five digits: variants stay together."""
    table = _table("weekly_units.csv.xz")
    weeks = next(table)[1:]
    for sku, *units in table:
        for week, count in zip(weeks, units, strict=True):
            yield sku[:5], (sku, week, count)


def _purchases() -> Iterator[tuple[str, str]]:
    """Customer and item, each customer's in the order of purchase."""
    table = _table("baskets.csv.xz")
    next(table)
    for customer, items in table:
        for item in items.split():
            yield customer, item


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path
