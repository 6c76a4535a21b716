"""How well scores rank the item that was held out: hit rate and NDCG at 10.

Against 99 sampled items, or against all that the customer has not bought: figures of the one and of the other
are not to be compared (Krichene and Rendle 2020).
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.models.baskets import Baskets, candidates

TOP = 10


Question: TypeAlias = tuple[int, NDArray[np.int64]]
"""A customer's row, and the candidates: the held-out item, then the items that it is ranked against."""


def questions(records: Baskets, *, sampled: bool) -> list[Question]:
    """One for each customer with a held-out item.

    sampled: against the 99 of `baskets.candidates`, otherwise against every item that was not bought.
    """
    asked = []
    for row in map(int, np.flatnonzero(records.held_out >= 0)):
        if sampled:
            chosen = candidates(records, row)
        else:
            others = np.flatnonzero(records.full[row] == 0.0)
            chosen = np.concatenate([records.held_out[row : row + 1], others])
        asked.append((row, chosen))
    return asked


def places(scores: NDArray[np.float64], asked: Sequence[Question]) -> NDArray[np.float64]:
    """How many candidates stand before each held-out item, ties counting half, shape (len(asked),).

    scores: of all items for each customer, shape (n, items).
    """
    found = np.empty(len(asked))
    for number, (row, chosen) in enumerate(asked):
        own, others = scores[row, chosen[0]], scores[row, chosen[1:]]
        found[number] = np.count_nonzero(others > own) + 0.5 * np.count_nonzero(others == own)
    return found


def hits(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """1.0 where the held-out item is among the ten best, else 0.0: their mean is HR@10."""
    return (places < TOP).astype(np.float64)


def gains(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / log2(place + 2) where the held-out item is among the ten best, else 0: their mean is NDCG@10."""
    return np.where(places < TOP, 1.0 / np.log2(places + 2.0), 0.0)


def coverage(scores: NDArray[np.float64], bought: NDArray[np.float32]) -> float:
    """The share of the catalogue that stands among somebody's ten best, from 0 to 1.

    scores, bought: shape (n, items); what a customer has already is not recommended.
    """
    new = np.where(bought > 0.0, -np.inf, scores)
    best = np.argpartition(new, -TOP, axis=1)[:, -TOP:]
    return float(len(np.unique(best)) / scores.shape[1])
