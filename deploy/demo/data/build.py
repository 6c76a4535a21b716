"""Build the compact demo tables from Online Retail II.

    python deploy/demo/data/build.py online_retail.csv

The argument is the table of the UCI Machine Learning Repository (DOI 10.24432/C5CG6D) as CSV, or the same
file compressed with xz, with the columns Invoice, StockCode, Description, Quantity, InvoiceDate (month/day/
year hour:minute), Price, Customer ID, Country. Written beside this script: `weekly_units.csv.xz` and
`baskets.csv.xz`; written beside the recommendation task, which needs it as its public catalogue:
`catalogue.csv`. The same input gives the same bytes.
"""

import csv
import io
import lzma
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
CATALOGUE = HERE.parents[2] / "models" / "intertwine" / "models" / "catalogue.csv"

FIRST_WEEK = date(2009, 11, 30)
WEEKS = 105
"""Complete weeks only: the table ends in the middle of a 106th."""
ACTIVE_WEEKS = 64
"""A series is kept if it sold in at least this many of the weeks."""
ITEMS = 1000
"""The catalogue: the items that the most customers bought."""
BASKET = 5
"""A customer is kept with at least this many distinct items of the catalogue."""
PRODUCT = re.compile(r"\d{5}")
"""Stock codes of goods start with five digits; postage, fees and samples do not."""


class Sale:
    """One invoice line that sold goods."""

    __slots__ = ("customer", "description", "item", "time", "units", "week")

    def __init__(self, row: dict[str, str]) -> None:
        self.item = row["StockCode"].strip().upper()
        self.time = datetime.strptime(row["InvoiceDate"], "%m/%d/%Y %H:%M")
        self.week = (self.time.date() - FIRST_WEEK).days // 7
        self.units = int(row["Quantity"])
        self.customer = row["Customer ID"].partition(".")[0]
        self.description = " ".join(row["Description"].split())


def sales(source: Path) -> Iterator[Sale]:
    """The lines that sold goods: no cancellations, returns, gifts, fees or postage."""
    with lzma.open(source) if source.suffix == ".xz" else source.open("rb") as data:
        text = io.TextIOWrapper(data, encoding="utf-8", newline="")
        for row in csv.DictReader(text):
            cancelled = row["Invoice"].startswith("C")
            if not cancelled and float(row["Price"]) > 0 and PRODUCT.match(row["StockCode"]):
                sale = Sale(row)
                if sale.units > 0:
                    yield sale


def write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write CSV, compressed if the name says so."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(lzma.compress(data, preset=9) if path.suffix == ".xz" else data)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def weekly_units(units: dict[str, list[int]]) -> Iterator[Iterable[object]]:
    """One row per item, one column per week, named by its Monday."""
    yield ["sku", *((FIRST_WEEK + timedelta(weeks=week)).isoformat() for week in range(WEEKS))]
    for sku, series in sorted(units.items()):
        if sum(1 for count in series if count) >= ACTIVE_WEEKS:
            yield [sku, *series]


def main(source: Path) -> None:
    """Read the source once and write the three tables."""
    units: dict[str, list[int]] = defaultdict(lambda: [0] * WEEKS)
    descriptions: dict[str, Counter[str]] = defaultdict(Counter)
    bought: dict[tuple[str, str], datetime] = {}
    for sale in sales(source):
        if sale.week < WEEKS:
            units[sale.item][sale.week] += sale.units
        descriptions[sale.item][sale.description] += 1
        if sale.customer:
            pair = (sale.customer, sale.item)
            bought[pair] = min(sale.time, bought.get(pair, sale.time))
    buyers = Counter(item for _, item in bought)
    # By code and not by rank: the order of the catalogue must say nothing about popularity.
    catalogue = sorted(sorted(buyers, key=lambda item: (-buyers[item], item))[:ITEMS])
    goods = set(catalogue)
    baskets: dict[str, list[str]] = defaultdict(list)
    # Each basket is in the order of first purchase: its last item is the one that evaluation holds out.
    for customer, item in sorted(bought, key=lambda pair: bought[pair]):
        if item in goods:
            baskets[customer].append(item)
    write(HERE / "weekly_units.csv.xz", weekly_units(units))
    kept = [
        [customer, " ".join(items)] for customer, items in sorted(baskets.items()) if len(items) >= BASKET
    ]
    write(HERE / "baskets.csv.xz", [["customer", "items"], *kept])
    named = [[item, descriptions[item].most_common(1)[0][0]] for item in catalogue]
    write(CATALOGUE, [["item", "description"], *named])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python deploy/demo/data/build.py online_retail.csv[.xz]")
    main(Path(sys.argv[1]))
