"""What a participant of a data-bound run adds up, in memory: the integers that its proof is about.

The definitions are those of `zk/STATISTICS.md` and `zk/GLM.md`. Only the logistic function is in double
precision here, where a proof has 60 digits: the same integers unless a value lies within 1e-12 of a tie.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from intertwine.models.task import Features, Labels, Parameters, Update
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import LABEL_BOUNDS, GlmMechanism, StatisticsMechanism

_LOW_BITS = 22
_TABLE_ROWS = 2048
_LARGEST_MARGIN = 2**32 - 1


def statistic(mechanism: StatisticsMechanism, features: Features, labels: Labels | None) -> Update:
    """The sum over records (n, columns): shape (columns,), or the upper triangle of the Gram matrix.

    labels: (n,), None if the mechanism has none.
    """
    if mechanism.moment == "sum":
        total: Update = features.sum(axis=0) if mechanism.weights == "one" else _required(labels) @ features
        return total
    variables = features if labels is None else np.column_stack([features, labels])
    gram: Update = (variables.T @ variables)[np.triu_indices(variables.shape[1])]
    return gram


def glm_step(
    mechanism: GlmMechanism,
    record_norm: str,
    parameters: Parameters,
    features: Features,
    labels: Labels | None,
) -> Update:
    """The sum of residual times features over records (n, columns) and labels (n,): shape (columns,).

    record_norm: the plan's. The direction is the one to be added to the parameters.
    """
    targets = _required(labels)
    weights, exponent = _integer_weights(mechanism, record_norm, parameters)
    factor = _label_factor(mechanism, record_norm, exponent)
    margins = features @ weights - factor * targets
    scores = _scores(mechanism, record_norm, exponent)[(margins >> _LOW_BITS) + _TABLE_ROWS // 2]
    gain = mechanism.residual_bound if mechanism.link == "logistic" else 0
    step: Update = (gain * targets - scores) @ features
    return step


def _integer_weights(
    mechanism: GlmMechanism, record_norm: str, parameters: Parameters
) -> tuple[NDArray[np.int64], int]:
    """Parameters times the largest power of two that keeps every margin below 2^32, and its exponent."""
    for exponent in range(64, -33, -1):
        scaled = [round(float(value) * 2.0**exponent) for value in parameters]
        factor = _label_factor(mechanism, record_norm, exponent)
        room = _LARGEST_MARGIN - LABEL_BOUNDS["integer"] * factor
        longest = mechanism.row_bound**2 * sum(value * value for value in scaled)
        if room >= 0 and longest <= room * room:
            return np.array(scaled, dtype=np.int64), exponent
    raise InputError("The parameters are too large for a step.", "Choose a smaller learning rate.")


def _label_factor(mechanism: GlmMechanism, record_norm: str, exponent: int) -> int:
    """One integer unit of the label in units of the margin; 0 if logistic."""
    if mechanism.link == "logistic":
        return 0
    return round(Fraction(mechanism.label_unit) * _unit(mechanism, record_norm, exponent))


@lru_cache(maxsize=64)
def _scores(mechanism: GlmMechanism, record_norm: str, exponent: int) -> NDArray[np.int64]:
    """Minus the residual, before the label of a logistic model, by the top bits of the margin."""
    step = Fraction(1 << (_LOW_BITS - 1)) / _unit(mechanism, record_norm, exponent)
    arguments = [(2 * high - _TABLE_ROWS + 1) * step for high in range(_TABLE_ROWS)]
    bound = mechanism.residual_bound
    if mechanism.link == "logistic":
        return np.array([round(bound * _logistic(float(value))) for value in arguments])
    scale = bound / Fraction(mechanism.residual_norm)
    return np.array([max(-bound, min(bound, round(scale * value))) for value in arguments])


def _unit(mechanism: GlmMechanism, record_norm: str, exponent: int) -> Fraction:
    """How many integer units of the margin are one real unit."""
    return mechanism.row_bound * Fraction(2) ** exponent / Fraction(record_norm)


def _logistic(value: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * value))


def _required(labels: Labels | None) -> Labels:
    if labels is None:
        raise InputError("The run needs labels, and the records have none.", "Correct the task's dataset.")
    return labels
