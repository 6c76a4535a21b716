"""Customers and the items they bought: from a participant's file, or from names of items, to baskets."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intertwine.models.catalogue import ITEMS, catalogue
from intertwine.models.table import read_rows
from intertwine.protocols.errors import InputError

MAX_CUSTOMERS = 50_000
NEGATIVES = 99
RECORD_NORM = "5.92"
"""Baskets are clipped to this L2 norm: that of 35 items, the median basket."""
ROW_BOUND = 258
"""The same norm in the integer vectors that are enrolled: an item counts 44, less in a larger basket."""


@dataclass(frozen=True)
class Baskets:
    """What customers bought. customers: n of them, in the order of the file.

    full: shape (n, 1000), 1.0 where bought. held_out: shape (n,), the item that each bought last,
    or -1 for a customer with a single item.
    """

    customers: tuple[str, ...]
    full: NDArray[np.float32]
    held_out: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of customers."""
        return len(self.customers)

    @property
    def training(self) -> NDArray[np.float32]:
        """`full` without the held-out items."""
        baskets = self.full.copy()
        rows = np.flatnonzero(self.held_out >= 0)
        baskets[rows, self.held_out[rows]] = 0.0
        return baskets


def load(path: Path) -> Baskets:
    """Read `customer,item`, in the order of purchase; an item bought again counts where it first stands.

    Items outside the public catalogue are left out, since no shared model can know them; a customer with
    none inside is no record. InputError if nothing is left.
    """
    bought: dict[str, dict[int, None]] = {}
    for row in read_rows(path, ["customer", "item"]):
        customer, item = row.text("customer"), catalogue().position(row.text("item"))
        if item is not None:
            bought.setdefault(customer, {})[item] = None
    if not bought:
        raise InputError(f"{path} holds no item of the catalogue.", "Use the catalogue's stock codes.")
    if len(bought) > MAX_CUSTOMERS:
        problem = f"{path} has {len(bought)} customers, more than {MAX_CUSTOMERS}."
        raise InputError(problem, "Choose a part of them.")
    customers = tuple(bought)
    full = np.zeros((len(customers), ITEMS), dtype=np.float32)
    held_out = np.full(len(customers), -1)
    for number, customer in enumerate(customers):
        items = list(bought[customer])
        full[number, items] = 1.0
        if len(items) > 1:
            held_out[number] = items[-1]
    return Baskets(customers, full, held_out)


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
