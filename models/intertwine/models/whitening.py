"""Public statistics that whiten features, so that clipping and noise treat all directions alike."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

RIDGE = 0.1
"""Added to each variance: rare features would otherwise be blown up until the clip lets nothing else by."""


@dataclass(frozen=True)
class Whitening:
    """x -> (x - mean) matrix. mean: shape (d,); matrix: symmetric, shape (d, d)."""

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.float64]) -> "Whitening":
        """The inverse square root of the ridged covariance of public rows, shape (n, d)."""
        values, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
        matrix = (vectors / np.sqrt(np.maximum(values, 0.0) + RIDGE)) @ vectors.T
        return cls(features.mean(axis=0), matrix)

    def with_feature(self, mean: float, variance: float) -> "Whitening":
        """With one more feature behind the others, taken as independent of them."""
        size = len(self.mean)
        matrix = np.zeros((size + 1, size + 1))
        matrix[:size, :size] = self.matrix
        matrix[size, size] = 1.0 / np.sqrt(variance + RIDGE)
        return Whitening(np.append(self.mean, mean), matrix)

    def apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whitened rows, shape (n, d)."""
        whitened: NDArray[np.float64] = (features - self.mean) @ self.matrix
        return whitened


@cache
def simulated_whitening() -> Whitening:
    """The statistics that ship with this package, made from a simulated public set."""
    text = resources.files(__package__).joinpath("simulated_whitening.csv").read_text(encoding="utf-8")
    table = np.array([line.split(",") for line in text.splitlines()[1:]], dtype=np.float64)
    return Whitening(table[0], table[1:])
