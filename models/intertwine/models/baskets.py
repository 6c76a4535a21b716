"""Customers and the items they bought: from a participant's file, or from names of items, to baskets."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intertwine.models.catalogue import ITEMS, catalogue
from intertwine.models.table import read_rows
from intertwine.protocols.errors import InputError

MAX_CUSTOMERS = 50_000
NEGATIVES = 99
RECENT = 20
"""Popularity counts the items that each customer bought last, at most so many: what sells now, and to all
customers about equally. Chosen on training baskets, whose own last items were held out."""
RECORD_NORM = "4.5"
"""Counted baskets are clipped to this L2 norm, just above that of 20 items: none is shortened."""
ROW_BOUND = 258
"""The same norm in the integer vectors that are enrolled: an item counts 57."""


@dataclass(frozen=True)
class Baskets:
    """What customers bought. customers: n of them, in the order of the file.

    orders: the items that each bought, in the order of purchase, each once.
    """

    customers: tuple[str, ...]
    orders: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        """The number of customers."""
        return len(self.customers)

    @cached_property
    def full(self) -> NDArray[np.float32]:
        """Whole baskets, shape (n, 1000), 1.0 where bought."""
        return _rows(self.orders)

    @cached_property
    def held_out(self) -> NDArray[np.int64]:
        """The item that each customer bought last, shape (n,), or -1 for one with a single item."""
        return np.array([order[-1] if len(order) > 1 else -1 for order in self.orders])

    @property
    def before(self) -> "Baskets":
        """The same customers before they bought the held-out item: what training sees."""
        kept = (order[: max(1, len(order) - 1)] for order in self.orders)
        return Baskets(self.customers, tuple(kept))

    @property
    def recent(self) -> NDArray[np.float32]:
        """The last 20 items of each customer, shape (n, 1000), 1.0 where bought."""
        return _rows([order[-RECENT:] for order in self.orders])


def _rows(orders: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    rows = np.zeros((len(orders), ITEMS), dtype=np.float32)
    for row, order in enumerate(orders):
        rows[row, order] = 1.0
    return rows


def load(path: Path) -> Baskets:
    """Read `customer,item`, in the order of purchase; an item bought again counts where it first stands.

    Items outside the public catalogue are left out, since no shared model can know them; a customer with
    none inside is no record. InputError if nothing is left.
    """
    bought: dict[str, array[int]] = {}
    for row in read_rows(path, ["customer", "item"]):
        customer, item = row.text("customer"), catalogue().position(row.text("item"))
        if item is not None and item not in (order := bought.setdefault(customer, array("h"))):
            order.append(item)
        if len(bought) > MAX_CUSTOMERS:
            problem = f"the file goes on after {MAX_CUSTOMERS:,} customers"
            raise row.error("customer", problem, "Choose a part of them.")
    if not bought:
        raise InputError(f"{path} holds no item of the catalogue.", "Use the catalogue's stock codes.")
    return Baskets(tuple(bought), tuple(np.array(items, dtype=np.int64) for items in bought.values()))


def candidates(records: Baskets, row: int) -> NDArray[np.int64]:
    """The held-out item of one customer, then 99 items that it did not buy (fewer if there are fewer).

    Drawn from the customer's name, so that every evaluation asks the same question.
    """
    others = np.flatnonzero(records.full[row] == 0.0)
    seed = hashlib.sha256(records.customers[row].encode()).digest()
    sampled = np.random.default_rng(list(seed)).permutation(others)[:NEGATIVES]
    return np.concatenate([records.held_out[row : row + 1], sampled])


def encode(baskets: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Baskets of the catalogue's items, by code or by description, as rows of 0 and 1, shape (n, 1000).

    Letter case does not matter, and an item named twice counts once. InputError names the first item that
    the catalogue does not have by its place, both counted from 1.
    """
    rows = np.zeros((len(baskets), ITEMS), dtype=np.float32)
    for row, items in enumerate(baskets):
        for place, item in enumerate(items):
            position = catalogue().position(item)
            if position is None:
                problem = f"Basket {row + 1}, item {place + 1}: {item!r} is not in the catalogue."
                raise InputError(problem, "Use the catalogue's codes or descriptions.")
            rows[row, position] = 1.0
    return rows
