"""The participant's side of a round: what it checks, what it commits to, what it releases.

Requests and replies are bytes; the transport is somebody else's. Checks before a commit:

 1 request_signature   the pinned coordinator signed the request
 2 ledger_compared     our ledger was compared with the coordinator's log since this agent started
 3 request_round       deployment, run, task and round number fit the signed plan, and we are in it
 4 request_task        we joined the task, and its model and ONNX template are those we have installed
 5 request_plan        the plan is the one under which this run began
 6 request_parameters  the attached parameters have the digest and dimension that were signed
 7 request_dataset     our enrolled records have the form that a data-bound plan asks for
 8 policy              noise, clipping norm, rounds and delta of the plan are within our own limits
 9 budget              all remaining rounds together stay within our own limit
10 second_commit       the slot is new, or the request is the very one we answered before

and before a release, besides 1 and 2:

11 release_slot        we committed to this slot, and have its secrets
12 beacon_nonce        the nonce is the one that was committed to before our commit
13 beacon_log          a checkpoint of the pinned log covers our commit
14 second_beacon       the slot has not been released under another beacon

No slot's commitments ever serve more than three proofs: the ledger counts them.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intertwine.client.budget import check_budget
from intertwine.client.datasets import EnrolledDatasets
from intertwine.client.identity import Identity
from intertwine.client.ledger import Ledger, SlotRow
from intertwine.client.openings import Opening, Vector, open_commit
from intertwine.client.policy import Policy
from intertwine.models.task import Clipping, ReleaseTask, Task
from intertwine.protocols.aggregation import parameters_from_bytes, update_from_bytes, update_to_bytes
from intertwine.protocols.checkpoint import open_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import CommitEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError, IntertwineError, VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.merkle import leaf_hash, verify_inclusion
from intertwine.protocols.plan import MAX_DIMENSION, Plan
from intertwine.protocols.round import (
    Commit,
    CommitRequest,
    Refusal,
    Release,
    ReleaseRequest,
    Signed,
    Slot,
    StatementContext,
    derive_beacon,
    kind_of,
    model_digest,
)
from intertwine.zk.dataset_proof import Chain
from intertwine.zk.round_proof import Statement, statement_for

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JoinedTask:
    """A task that we joined: its records here, what one run may ask for, and what all together may cost."""

    task: Task[Any]
    records: Any
    policy: Policy
    max_epsilon: float


@dataclass(frozen=True)
class ReleaseWork:
    """Everything that a release is made from.

    total, noise: g and z, shape (plan.dimension,). chain: the dataset that the commit names, if any.
    """

    plan: Plan
    commit: Signed[Commit]
    beacon: bytes
    parameters: NDArray[np.float64]
    chain: Chain | None
    opening: Opening

    @property
    def total(self) -> Vector:
        """g: what the plan asks for, without noise."""
        return self.opening.total(self.beacon, self.commit.body.slot.identifier())

    @property
    def noise(self) -> Vector:
        """z: the noise that commit and beacon determine."""
        return self.opening.noise(self.beacon, self.commit.body.slot.identifier())

    def statement(self, update: Vector) -> Statement:
        """What a proof of this update is about."""
        return statement_for(self.plan, self.commit, self.beacon, update, self.parameters, self.chain)


# Makes the update u and its proof.
Releaser = Callable[[ReleaseWork], tuple[Vector, bytes]]


def honest_release(work: ReleaseWork) -> tuple[Vector, bytes]:
    """u = g + z, and the proof of it."""
    update = work.total + work.noise
    return update, work.opening.prove(work.statement(update))


class Participant:
    """Answers the coordinator's requests. Only one request is answered at a time.

    identity: may be replaced between two requests, by one with another key. compare: check 2, called before
    each answer; an IntertwineError from it becomes a refusal.
    """

    def __init__(
        self,
        identity: Identity,
        tasks: Mapping[str, JoinedTask],
        ledger: Ledger,
        releaser: Releaser = honest_release,
        compare: Callable[[], None] = lambda: None,
    ) -> None:
        self.identity = identity
        self._tasks = tasks
        self._ledger = ledger
        self._datasets = EnrolledDatasets(ledger)
        self._releaser = releaser
        self._compare = compare

    def handle(self, message: bytes) -> bytes:
        """Answer one request: a commit, a release, or a signed refusal that says why.

        VerificationError or InputError if the request is not the coordinator's own: then there is nobody
        to answer.
        """
        envelope = Envelope.from_bytes(message, (8 * MAX_DIMENSION,))
        kind = kind_of(envelope.document)
        if kind == CommitRequest.__name__:
            request = Signed[CommitRequest].decode(envelope.document).open(self.identity.deployment)
            slot = Slot(round=request.round, participant=self.identity.participant)
            return self._answer(slot, lambda: self._commit(request, slot, envelope))
        if kind == ReleaseRequest.__name__:
            order = Signed[ReleaseRequest].decode(envelope.document).open(self.identity.deployment)
            return self._answer(order.slot, lambda: self._release(order))
        raise InputError(f"A request of kind {kind!r} is not known.", "Update the agent.")

    def _answer(self, slot: Slot, work: Callable[[], bytes]) -> bytes:
        try:
            self._compare()
            return work()
        except IntertwineError as error:
            _log.warning("refused: %s", error, extra=_context(slot))
            refusal = Refusal(slot=slot, reason=str(error)[:500])
            return Envelope(Signed[Refusal].create(refusal, self.identity.key).encode()).to_bytes()

    # Commit

    def _commit(self, request: CommitRequest, slot: Slot, envelope: Envelope) -> bytes:
        known = self._ledger.find(slot.identifier().hex())
        if known is not None:
            return _repeat_commit(known, request)
        (parameters,) = envelope.expect(1)
        joined = self._check(request, parameters)
        plan, seed = request.plan, secrets.token_bytes(32)
        values = parameters_from_bytes(parameters, plan.dimension)
        gradient = _gradient(plan, joined, values)
        head = self._datasets.head(plan)
        opening = self._open(plan, seed, gradient, values, head)
        commit = Commit(
            slot=slot,
            plan=plan.digest(),
            parameters=request.parameters,
            randomness=[point.hex() for point in opening.randomness],
            gradient=[point.hex() for point in opening.gradient],
            dataset=head,
            lot=[point.hex() for point in opening.lot],
        )
        signed = Signed[Commit].create(commit, self.identity.key).encode()
        self._ledger.commit(_slot_row(request, slot, parameters, seed, gradient, signed))
        _log.info("committed", extra=_context(slot))
        return Envelope(signed).to_bytes()

    def _open(
        self, plan: Plan, seed: bytes, gradient: Vector | None, parameters: NDArray[np.float64], head: str
    ) -> Opening:
        dataset = self._datasets.opening(head) if head else None
        return open_commit(plan, seed, gradient=gradient, parameters=parameters, dataset=dataset)

    def _check(self, request: CommitRequest, parameters: bytes) -> JoinedTask:
        """Checks 3 to 9."""
        plan, identity = request.plan, request.round
        mine = (self.identity.deployment, plan.run, plan.task)
        if (
            (identity.deployment, identity.run, identity.task) != mine
            or plan.deployment != self.identity.deployment
            or identity.number > plan.rounds
            or self.identity.participant not in plan.participants
        ):
            raise VerificationError("request_round", "the round does not fit its plan, or we are not in it.")
        joined = self._tasks.get(plan.task)
        if joined is None:
            raise InputError(f"This participant has no data for task {plan.task!r}.")
        if plan.model != model_digest(plan.task, joined.task.dimension, joined.task.version):
            raise VerificationError("request_task", f"the plan is for another model of task {plan.task!r}.")
        if plan.template != sha256(joined.task.template()):
            raise VerificationError(
                "request_task",
                f"the plan would publish another ONNX graph than that of task {plan.task!r}.",
                "Install the coordinator's release of intertwine.",
            )
        first = self._ledger.first_plan(plan.run)
        if first is not None and first != plan.encode():
            raise VerificationError("request_plan", "the run began under another plan.")
        if sha256(parameters) != request.parameters:
            raise VerificationError("request_parameters", "the parameters are not those that were signed.")
        self._datasets.check(plan)
        joined.policy.check(plan)
        check_budget(self._ledger, plan, identity.number, joined.max_epsilon)
        return joined

    # Release

    def _release(self, order: ReleaseRequest) -> bytes:
        row = self._ledger.find(order.slot.identifier().hex())
        if row is None:
            raise VerificationError("release_slot", "we never committed to this slot.")
        if row.origin != "own":
            raise VerificationError("release_slot", "the secrets of this slot are gone: it is given up.")
        plan, commit = Plan.decode(row.plan), Signed[Commit].decode(row.commit)
        beacon = self._check_beacon(order, row, commit)
        if row.release:
            if row.beacon != beacon.hex():
                raise VerificationError("second_beacon", "the slot was released under another beacon.")
            return row.release
        if commit.key != self.identity.key.public:
            raise InputError("the slot was committed with a key that we have replaced since.")
        self._ledger.begin_proof(row.slot, StatementContext.create(plan, commit, beacon).digest())
        started = time.perf_counter()
        update, proof = self._releaser(self._work(row, plan, commit, beacon))
        seconds = time.perf_counter() - started
        reply = self._sign_release(commit, beacon, update_to_bytes(update), proof)
        self._ledger.release(row.slot, beacon.hex(), reply, seconds)
        _log.info("released, proved in %.2f s", seconds, extra=_context(order.slot))
        return reply

    def _work(self, row: SlotRow, plan: Plan, commit: Signed[Commit], beacon: bytes) -> ReleaseWork:
        parameters = parameters_from_bytes(row.values, plan.dimension)
        gradient = update_from_bytes(row.gradient, plan.dimension) if row.gradient else None
        head = commit.body.dataset
        opening = self._open(plan, row.seed, gradient, parameters, head)
        chain = self._datasets.public(head) if head else None
        return ReleaseWork(plan, commit, beacon, parameters, chain, opening)

    def _check_beacon(self, order: ReleaseRequest, row: SlotRow, commit: Signed[Commit]) -> bytes:
        """Checks 12 and 13; returns the beacon."""
        nonce = bytes.fromhex(order.nonce)
        if sha256(nonce) != row.nonce_digest:
            raise VerificationError("beacon_nonce", "the nonce was not committed to before our commit.")
        checkpoint = open_checkpoint(order.checkpoint, self.identity.log_origin, self.identity.deployment)
        leaf = leaf_hash(CommitEntry(time=order.commit_time, commit=commit).encode())
        path = [bytes.fromhex(node) for node in order.inclusion.path]
        verify_inclusion(leaf, order.inclusion.index, checkpoint.size, path, checkpoint.root)
        return derive_beacon(order.slot.round, order.checkpoint, nonce)

    def _sign_release(self, commit: Signed[Commit], beacon: bytes, update: bytes, proof: bytes) -> bytes:
        body = Release(
            slot=commit.body.slot,
            commit=commit.digest(),
            beacon=beacon.hex(),
            update=sha256(update),
            proof=sha256(proof),
        )
        return Envelope(Signed[Release].create(body, self.identity.key).encode(), (update, proof)).to_bytes()


def _context(slot: Slot) -> dict[str, str | int]:
    """What a logged event belongs to."""
    identity = slot.round
    return {
        "run": identity.run,
        "round": identity.number,
        "participant": slot.participant,
        "slot": slot.identifier().hex(),
    }


def _gradient(plan: Plan, joined: JoinedTask, parameters: NDArray[np.float64]) -> Vector | None:
    """The participant's own update, for a release; a data-bound plan's follows from the records."""
    if not isinstance(plan.mechanism, ReleaseMechanism):
        return None
    if not isinstance(joined.task, ReleaseTask):
        raise VerificationError("request_task", f"task {plan.task!r} trains on enrolled records only.")
    clipping = Clipping(float(plan.record_norm), plan.record_bound, plan.mechanism.update_bound)
    return joined.task.update(parameters, joined.records, clipping)


def _slot_row(
    request: CommitRequest, slot: Slot, parameters: bytes, seed: bytes, gradient: Vector | None, commit: bytes
) -> SlotRow:
    plan = request.plan
    return SlotRow(
        slot=slot.identifier().hex(),
        run=plan.run,
        task=plan.task,
        number=request.round.number,
        plan=plan.encode(),
        nonce_digest=request.nonce_digest,
        parameters=request.parameters,
        values=parameters,
        seed=seed,
        gradient=b"" if gradient is None else update_to_bytes(gradient),
        commit=commit,
    )


def _repeat_commit(row: SlotRow, request: CommitRequest) -> bytes:
    """Check 10: a repeated request gets the same bytes; another request for the slot gets nothing."""
    same = (request.plan.encode(), request.parameters, request.nonce_digest)
    if row.origin != "own" or (row.plan, row.parameters, row.nonce_digest) != same:
        raise VerificationError("second_commit", "the slot has another commit, or is given up.")
    return Envelope(row.commit).to_bytes()
