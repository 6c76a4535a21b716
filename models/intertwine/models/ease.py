"""A participant's own model of which items go together: EASE, learned from its customers alone.

The constants were chosen on training baskets, whose own last items were held out, for participants of 25 to
5,305 customers of the demo's data.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

RIDGE = 300.0
"""The L2 penalty of a model that is learned from many customers."""
HALF_TRUSTED = 400.0
"""Customers from whom a model is learned that deserves half the trust of one learned from very many."""


@dataclass(frozen=True)
class LocalModel:
    """Item-to-item weights that never leave the participant.

    weights: shape (items, items), what an item in the basket adds to the score of each item.
    trust: see `trust`.
    """

    weights: NDArray[np.float64]
    trust: float

    def scores(self, baskets: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores of all items for baskets of 0 and 1, shape (n, items) as theirs; an empty basket's are 0."""
        scores: NDArray[np.float64] = baskets @ self.weights
        return scores


def trust(customers: int) -> float:
    """How far a model learned from so many customers is to be trusted, from 0 to 1."""
    return customers / (customers + HALF_TRUSTED)


def fit(baskets: NDArray[np.float32]) -> LocalModel:
    """The closed-form item-to-item regression with a zero diagonal (EASE: Steck 2019, eq. 8).

    baskets: 1 for what each customer bought, shape (customers, items), at least one customer. The penalty
    grows with their number: counts of few customers are small, and a full penalty would flatten them.
    """
    trusted = trust(len(baskets))
    gram = (baskets.T @ baskets).astype(np.float64)
    diagonal = np.diag_indices(len(gram))
    gram[diagonal] += trusted * RIDGE
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(torch.from_numpy(gram))).numpy()
    weights = inverse / -np.diag(inverse)
    weights[diagonal] = 0.0
    return LocalModel(weights, trusted)
