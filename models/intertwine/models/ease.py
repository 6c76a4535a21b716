"""A participant's own model of which items go together: EASE, learned from its customers alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RIDGE = 300.0
"""The L2 penalty."""


@dataclass(frozen=True)
class LocalModel:
    """Item-to-item weights that never leave the participant.

    weights: shape (items, items), what an item in the basket adds to the score of each item.
    customers: how many it was learned from.
    """

    weights: NDArray[np.float64]
    customers: int

    def scores(self, baskets: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores of all items for baskets of 0 and 1, shape (n, items) as theirs; an empty basket's are 0."""
        scores: NDArray[np.float64] = baskets @ self.weights
        return scores


def fit(baskets: NDArray[np.float32]) -> LocalModel:
    """The closed-form item-to-item regression with a zero diagonal (EASE: Steck 2019, eq. 8).

    baskets: 1 for what each customer bought, shape (customers, items).
    """
    gram = (baskets.T @ baskets).astype(np.float64)
    diagonal = np.diag_indices(len(gram))
    gram[diagonal] += RIDGE
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[diagonal] = 0.0
    return LocalModel(weights, len(baskets))
