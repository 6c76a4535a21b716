"""Why a vulnerability got its score: the share of each of its properties in the log odds, exactly."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from intertwine.models import vulnerability
from intertwine.models.task import Parameters
from intertwine.models.whitening import Whitening

_SHOWN = 3
"""Properties that a line names; the others it adds up."""


@runtime_checkable
class ExplainedTask(Protocol):
    """A task that can say what its outputs are made of."""

    def explain(self, parameters: Parameters, records: Any) -> list[str]:
        """Lines for people about the rows that `describe` shows."""
        ...


@dataclass(frozen=True)
class Explanation:
    """Additive shares in the log odds. base: of the average public vulnerability; features: shape (n, 57)."""

    base: float
    features: NDArray[np.float64]

    @property
    def log_odds(self) -> NDArray[np.float64]:
        """The model's log odds, shape (n,)."""
        total: NDArray[np.float64] = self.base + self.features.sum(axis=1)
        return total

    def properties(self, row: int) -> dict[str, float]:
        """The share of each property of one row: those of its features added up."""
        shares: dict[str, float] = {}
        for name, value in zip(vulnerability.PROPERTIES, self.features[row], strict=True):
            shares[name] = shares.get(name, 0.0) + float(value)
        return shares

    def line(self, row: int) -> str:
        """The largest shares of one row, and what remains."""
        shares = self.properties(row)
        largest = sorted(shares, key=lambda name: -abs(shares[name]))
        named = [f"{name} {shares[name]:+.2f}" for name in largest[:_SHOWN]]
        rest = sum(shares[name] for name in largest[_SHOWN:])
        total = self.base + sum(shares.values())
        return f"log odds {total:+.2f} = average {self.base:+.2f}, {', '.join(named)}, others {rest:+.2f}"


def split_log_odds(
    features: NDArray[np.float64], whitening: Whitening, weights: NDArray[np.float64], intercept: float
) -> Explanation:
    """Split the log odds b + w . M (x - m) / s(x), where s(x) is the norm of M (x - m) and at least 1.

    Feature j's share is (x_j - m_j) (M w)_j / s(x), so that the shares and b add up to the log odds.
    features: shape (n, 57); m, M: the whitening; weights w: shape (57,), on whitened features; intercept b.
    """
    scale = np.maximum(np.linalg.norm(whitening.apply(features), axis=1, keepdims=True), 1.0)
    return Explanation(intercept, (features - whitening.mean) * (whitening.matrix @ weights) / scale)
