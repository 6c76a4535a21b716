"""Recomputing a run: from the plan's initial parameters and the accepted updates to what was published."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.aggregation import (
    Parameters,
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
)
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import VerificationError
from intertwine.zk.audit.finding import blaming
from intertwine.zk.audit.history import RoundHistory, RunHistory

Blob = Callable[[str], bytes]


@np.errstate(all="ignore")  # a plan may ask for steps that overflow; then the digests of that count
def replay(run: RunHistory, blob: Blob) -> Parameters:
    """The parameters that the run has to publish; blob: the bytes of a digest.

    FindingError if a model entry is not what follows from the updates before it.
    """
    with blaming(run.index):
        initial = parameters_from_bytes(blob(run.plan.initial), run.plan.dimension)
        optimizer = ServerOptimizer(run.plan, initial)
    for current in run.rounds:
        if current.model is None:
            continue
        with blaming(current.model_index):
            total = aggregate(_updates(current, blob), run.plan.dimension)
            if sha256(aggregate_to_bytes(total)) != current.model.aggregate:
                raise VerificationError("aggregate", "the aggregate is not the sum of the accepted updates")
            if sha256(parameters_to_bytes(optimizer.step(total))) != current.model.parameters:
                raise VerificationError("aggregate", "the parameters do not follow from the aggregate")
    return optimizer.published()


def _updates(current: RoundHistory, blob: Blob) -> Iterator[NDArray[np.int64]]:
    for name in current.accepted():
        release = current.slots[name].release
        if release is not None:
            yield update_from_bytes(blob(release.body.update), current.plan.dimension)
