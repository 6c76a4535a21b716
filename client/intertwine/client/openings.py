"""The secret behind a commit, for each mechanism: what is committed to, and what is released from it.

    release      the participant's own gradient, and the noise's randomness
    statistics   the noise's randomness; the sum follows from the enrolled records
    glm          the noise's randomness and the lot's; the step follows from the records and the parameters

An opening is made twice, for the commit and after the beacon, from the same seed: it is the same both times.
"""

from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.encoding import tagged_digest
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.plan import Plan
from intertwine.zk import glm, release, statistics
from intertwine.zk.dataset import DatasetOpening
from intertwine.zk.glm import GlmStatement, LotOpening
from intertwine.zk.noise import NoiseOpening
from intertwine.zk.release import ReleaseStatement
from intertwine.zk.round_proof import Statement, model_of
from intertwine.zk.statistics import StatisticsStatement

Vector: TypeAlias = NDArray[np.int64]
Points: TypeAlias = tuple[bytes, ...]
Kind = TypeVar("Kind")


class Opening(Protocol):
    """What one slot's commit hides. beacon and slot: 32 bytes each; vectors: shape (plan.dimension,)."""

    randomness: Points
    gradient: Points
    lot: Points

    def total(self, beacon: bytes, slot: bytes) -> Vector:
        """g: the vector to be noised."""
        ...

    def noise(self, beacon: bytes, slot: bytes) -> Vector:
        """z, which the commit and the beacon determine."""
        ...

    def prove(self, statement: Statement) -> bytes:
        """Prove a statement about this commit; InputError if it is not true."""
        ...

    def prove_unchecked(self, statement: Statement) -> bytes:
        """Prove a statement that may be false. For tests and fault injection only."""
        ...


class ReleaseOpening:
    """A gradient that the participant computed by itself."""

    lot: Points = ()

    def __init__(self, plan: Plan, gradient: Vector, seed: bytes) -> None:
        self._secret = release.commit(gradient, plan.sigma, seed)
        self.randomness = self._secret.commitments.randomness
        self.gradient = self._secret.commitments.gradient

    def total(self, beacon: bytes, slot: bytes) -> Vector:
        """The gradient."""
        return self._secret.gradient

    def noise(self, beacon: bytes, slot: bytes) -> Vector:
        """See `Opening`."""
        return release.noise(self._secret, beacon, slot)

    def prove(self, statement: Statement) -> bytes:
        """See `Opening`."""
        return release.prove(_expect(ReleaseStatement, statement), self._secret)

    def prove_unchecked(self, statement: Statement) -> bytes:
        """See `Opening`."""
        return release.prove_unchecked(_expect(ReleaseStatement, statement), self._secret)


class StatisticsOpening:
    """A sum over the enrolled records."""

    gradient: Points = ()
    lot: Points = ()

    def __init__(
        self, plan: Plan, mechanism: StatisticsMechanism, dataset: DatasetOpening, seed: bytes
    ) -> None:
        self._mechanism = mechanism
        self._dataset = dataset
        self._noise = NoiseOpening(plan.dimension, plan.sigma, seed)
        self.randomness = self._noise.commitments

    def total(self, beacon: bytes, slot: bytes) -> Vector:
        """The exact sum."""
        return statistics.exact_sum(self._dataset, self._mechanism.moment, self._mechanism.weights)

    def noise(self, beacon: bytes, slot: bytes) -> Vector:
        """See `Opening`."""
        return self._noise.noise(beacon, slot)

    def prove(self, statement: Statement) -> bytes:
        """See `Opening`."""
        return statistics.prove(_expect(StatisticsStatement, statement), self._dataset, self._noise)

    def prove_unchecked(self, statement: Statement) -> bytes:
        """See `Opening`."""
        expected = _expect(StatisticsStatement, statement)
        witness = statistics.witness_of(expected, self._dataset, self._noise)
        return statistics.instance_of(expected).prover(witness).prove()


class GlmOpening:
    """A gradient step over a secret lot of the enrolled records."""

    gradient: Points = ()

    def __init__(
        self,
        plan: Plan,
        mechanism: GlmMechanism,
        dataset: DatasetOpening,
        parameters: NDArray[np.float64],
        seed: bytes,
    ) -> None:
        self._dataset = dataset
        self._model = model_of(plan, mechanism)
        self._weights, self._exponent = glm.quantise_weights(parameters, dataset.shape, self._model)
        self._noise = NoiseOpening(
            plan.dimension, plan.sigma, tagged_digest("intertwine/noise-seed/v1", seed)
        )
        self._lot = None
        if mechanism.sampled:
            rows = tuple(page.rows for page in dataset.dataset.pages)
            self._lot = LotOpening(rows, tagged_digest("intertwine/lot-seed/v1", seed))
        self.randomness = self._noise.commitments
        self.lot: Points = self._lot.commitments if self._lot else ()

    def total(self, beacon: bytes, slot: bytes) -> Vector:
        """The exact step."""
        return glm.exact_step(
            self._dataset, self._model, self._weights, self._exponent, self._lot, beacon, slot
        )

    def noise(self, beacon: bytes, slot: bytes) -> Vector:
        """See `Opening`."""
        return self._noise.noise(beacon, slot)

    def prove(self, statement: Statement) -> bytes:
        """See `Opening`."""
        return glm.prove(_expect(GlmStatement, statement), self._dataset, self._noise, self._lot)

    def prove_unchecked(self, statement: Statement) -> bytes:
        """See `Opening`."""
        expected = _expect(GlmStatement, statement)
        witness = glm.witness_of(expected, self._dataset, self._noise, self._lot)
        return glm.instance_of(expected).prover(witness).prove()


def open_commit(
    plan: Plan,
    seed: bytes,
    *,
    gradient: Vector | None,
    parameters: NDArray[np.float64],
    dataset: DatasetOpening | None,
) -> Opening:
    """The opening of one slot.

    seed: 32 secret bytes, fresh for every slot. gradient: for a release; dataset: for the other statements.
    parameters: those that the round starts from, shape (plan.dimension,).
    """
    match plan.mechanism, gradient, dataset:
        case ReleaseMechanism(), np.ndarray(), None:
            return ReleaseOpening(plan, gradient, seed)
        case StatisticsMechanism() as mechanism, None, DatasetOpening():
            return StatisticsOpening(plan, mechanism, dataset, seed)
        case GlmMechanism() as mechanism, None, DatasetOpening():
            return GlmOpening(plan, mechanism, dataset, parameters, seed)
    raise InputError("The plan's mechanism does not fit what there is to commit to.")


def _expect(kind: type[Kind], statement: Statement) -> Kind:
    if not isinstance(statement, kind):
        raise InputError("The statement is not the one that this commit is for.")
    return statement
