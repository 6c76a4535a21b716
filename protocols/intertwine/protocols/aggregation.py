"""The server step: from accepted integer updates to the next parameters, the same bits everywhere.

All arithmetic is element-wise IEEE double precision in a fixed order, so an auditor who has the updates
recomputes the very bytes of every published parameter vector. Parameters travel as little-endian
float64, updates as little-endian int32.
"""

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError
from intertwine.protocols.plan import Plan

Parameters: TypeAlias = NDArray[np.float64]
Update: TypeAlias = NDArray[np.int64]


def aggregate(updates: Iterable[Update], dimension: int) -> Update:
    """The sum of the accepted updates, shape (dimension,), exact."""
    total = np.zeros(dimension, dtype=np.int64)
    for update in updates:
        total += update
    return total


class ServerOptimizer:
    """SGD with heavy-ball momentum on noised sums.

        velocity   <- momentum velocity + sum / (scale normaliser)
        parameters <- parameters + learning_rate velocity

    with scale = record_bound / record_norm integer units per real unit, and a public normaliser (the
    expected number of records), never the actual one.
    """

    def __init__(self, plan: Plan, initial: Parameters) -> None:
        if initial.shape != (plan.dimension,):
            raise InputError(f"The initial parameters have shape {initial.shape}, not ({plan.dimension},).")
        self._plan = plan
        self._velocity = np.zeros_like(initial)
        self._initial = initial
        self._recent: deque[Parameters] = deque(maxlen=plan.average_last)

    @property
    def parameters(self) -> Parameters:
        """The parameters after the latest step."""
        return self._recent[-1] if self._recent else self._initial

    def step(self, total: Update) -> Parameters:
        """Apply one round's aggregate and return the new parameters."""
        plan = self._plan
        scale = plan.record_bound / float(plan.record_norm)
        self._velocity = float(plan.momentum) * self._velocity + total / (scale * float(plan.normaliser))
        self._recent.append(self.parameters + float(plan.learning_rate) * self._velocity)
        return self.parameters

    def published(self) -> Parameters:
        """The average of the last `average_last` parameter vectors (Polyak averaging)."""
        last = self._recent or [self._initial]
        total = np.zeros_like(self._initial)
        for parameters in last:
            total = total + parameters
        return total / len(last)


def parameters_to_bytes(parameters: Parameters) -> bytes:
    """Little-endian float64, 8 bytes a coordinate."""
    return parameters.astype("<f8").tobytes()


def parameters_from_bytes(data: bytes, dimension: int) -> Parameters:
    """The inverse of `parameters_to_bytes`; InputError for another length or a value that is not finite."""
    if len(data) != 8 * dimension:
        raise InputError(f"Parameters of {len(data)} bytes do not have dimension {dimension}.")
    parameters = np.frombuffer(data, dtype="<f8").astype(np.float64)
    if not np.isfinite(parameters).all():
        raise InputError("Parameters contain a value that is not finite.")
    return parameters


def update_to_bytes(update: Update) -> bytes:
    """Little-endian int32, 4 bytes a coordinate; InputError if a coordinate does not fit."""
    limits = np.iinfo(np.int32)
    if update.size and not limits.min <= update.min() <= update.max() <= limits.max:
        raise InputError(
            "An update has a coordinate beyond 32 bits.", "Lower the bound or the number of updates."
        )
    return update.astype("<i4").tobytes()


def update_from_bytes(data: bytes, dimension: int) -> Update:
    """The inverse of `update_to_bytes`; InputError for another length."""
    if len(data) != 4 * dimension:
        raise InputError(f"An update of {len(data)} bytes does not have dimension {dimension}.")
    return np.frombuffer(data, dtype="<i4").astype(np.int64)


def aggregate_to_bytes(total: Update) -> bytes:
    """Little-endian int64, 8 bytes a coordinate: sums of many updates need the room."""
    return total.astype("<i8").tobytes()
