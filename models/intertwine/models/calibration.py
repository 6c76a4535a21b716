"""Probabilities that mean what they say: a participant's own correction of a shared model's log odds.

The participant fits it on its own held-out records, for its own eyes: nothing of it leaves the machine, so
that it costs no privacy towards others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_OF_A_CLASS = 20
"""Fewest records of each class from which a correction is fitted; below that chance would decide."""
_STEPS = 100
_CONVERGED = 1e-10
_RIDGE = 1e-9


@dataclass(frozen=True)
class Calibration:
    """Log odds z become slope z + offset."""

    slope: float
    offset: float

    def probability(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrected probabilities, of the same shape."""
        return sigmoid(self.slope * log_odds + self.offset)


def fit(log_odds: NDArray[np.float64], label: NDArray[np.bool_]) -> Calibration | None:
    """Platt scaling; None if a class has fewer than MIN_OF_A_CLASS records. log_odds, label: shape (n,).

    Source: Platt (1999), with the targets of his equation for small samples, by damped Newton steps as in
    Lin, Lin and Weng (2007).
    """
    positives, negatives = int(label.sum()), int((~label).sum())
    if min(positives, negatives) < MIN_OF_A_CLASS:
        return None
    target = np.where(label, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([log_odds, np.ones(len(log_odds))])
    solution = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    loss = _loss(design @ solution, target)
    for _ in range(_STEPS):
        step = _newton_step(design, solution, target)
        scale = 1.0
        while (after := _loss(design @ (solution + scale * step), target)) > loss and scale > _CONVERGED:
            scale /= 2
        if loss - after <= _CONVERGED:
            break
        solution, loss = solution + scale * step, after
    return Calibration(float(solution[0]), float(solution[1]))


def calibration_error(probability: NDArray[np.float64], label: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: |mean probability - share of positives|, averaged over equally full bins.

    probability, label: shape (n,), n at least `bins`.
    """
    order = np.argsort(probability, kind="stable")
    gaps = [
        abs(float(probability[rows].mean() - label[rows].mean())) * len(rows)
        for rows in np.array_split(order, bins)
    ]
    return sum(gaps) / len(order)


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of log odds, without overflow."""
    probability: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -log_odds))
    return probability


def _loss(log_odds: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())


def _newton_step(
    design: NDArray[np.float64], solution: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    probability = sigmoid(design @ solution)
    curvature = (design * (probability * (1 - probability))[:, None]).T @ design + _RIDGE * np.eye(2)
    step = np.linalg.solve(curvature, design.T @ (target - probability))
    return np.asarray(step, dtype=np.float64)
