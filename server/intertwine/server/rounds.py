"""Driving a run: plan → commit → beacon → release → verify → aggregate → publish.

The driver sees participants only through a `Transport`; in production that is Flower, in most tests a
federation in memory. Everything that happens is an entry of the log, written before its consequences.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from intertwine.protocols.aggregation import (
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
)
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Entry,
    ModelEntry,
    Outcome,
    Publication,
    ReleaseEntry,
    RoundOpened,
    Verdict,
)
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, IntertwineError, VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.model_file import expected_model, model_metadata
from intertwine.protocols.plan import MAX_DIMENSION, Plan
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import (
    Commit,
    CommitRequest,
    Refusal,
    Release,
    ReleaseRequest,
    RoundId,
    Signed,
    Slot,
    derive_beacon,
    kind_of,
)
from intertwine.protocols.signing import SigningKey
from intertwine.server.closing import end_run
from intertwine.server.cosigning import coordinator_policy, gather
from intertwine.server.datasets import enrolled_chain
from intertwine.server.fleet import Fleet
from intertwine.server.home import Home
from intertwine.server.membership import active_participants, require_active, revoked
from intertwine.server.store import LogView, Participant, Run, Store, now
from intertwine.zk.dataset_proof import Chain
from intertwine.zk.round_proof import check_commit, verify_release

MAX_PROOF_BYTES = 1 << 20
CONNECT_S = 20.0
_log = logging.getLogger(__name__)

OnReply = Callable[[int, bytes], None]


class RunEndedError(FederationError):
    """The coordinator has stopped the run, or found its process dead, while it went on."""


class Transport(Protocol):
    """Carries one request to each node and brings the replies back as they come."""

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        """Call `on_reply(node, payload)` for every reply; return node → reason for those without one."""


@dataclass
class _Member:
    """A participant in the current round."""

    participant: Participant
    slot: Slot
    commit: Signed[Commit] | None = None
    chain: Chain | None = None
    commit_position: int = 0
    commit_time: int = 0
    update: NDArray[np.int64] | None = None
    ended: bool = False


@dataclass
class _Round:
    """What is known of the current round."""

    identity: RoundId
    parameters: bytes
    nonce: bytes
    members: dict[int, _Member]
    beacon: bytes = b""


class RunDriver:
    """Drives one run of one plan from its first round to the publication of its model."""

    def __init__(
        self,
        store: Store,
        key: SigningKey,
        plan: Plan,
        transport: Transport,
        witnesses: Policy | None = None,
    ) -> None:
        """witnesses: who is asked to co-sign the log after every round and at the end; nobody by default."""
        self._store = store
        self._witnesses = witnesses
        self._key = key
        self._plan = plan
        self._transport = transport
        initial = parameters_from_bytes(store.blob(plan.initial), plan.dimension)
        self._optimizer = ServerOptimizer(plan, initial)

    def execute(self) -> None:
        """Run all rounds and publish; FederationError, after logging it, if a round lacks its quorum."""
        self._update(state="running")
        for number in range(1, self._plan.rounds + 1):
            self._round(number)
            self._update(finished_rounds=number)
            self._have_cosigned()
        self._publish()
        self._have_cosigned()

    def _have_cosigned(self) -> None:
        if self._witnesses is not None:
            gather(self._store, self._witnesses)

    def _round(self, number: int) -> None:
        current = self._open(number)
        self._collect_commits(current)
        self._collect_releases(current, self._draw_beacon(current))
        self._aggregate(current)

    # Slot and commit

    def _open(self, number: int) -> _Round:
        plan = self._plan
        identity = RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)
        parameters = parameters_to_bytes(self._optimizer.parameters)
        digest, nonce = self._store.put_blob(parameters), secrets.token_bytes(32)
        with self._store.transaction() as session:
            self._require_running(session)
            gone = revoked(session, plan.participants)
            names = [name for name in plan.participants if name not in gone]
            members = [session.get_one(Participant, name) for name in names]
            opened = RoundOpened(
                time=now(),
                round=identity,
                parameters=digest,
                nonce_digest=sha256(nonce),
                participants=names,
            )
            self._store.append(session, opened)
        slots = {
            int(member.node_id): _Member(member, Slot(round=identity, participant=member.name))
            for member in members
        }
        return _Round(identity, parameters, nonce, slots)

    def _log(self, entry: Entry) -> int:
        """Log what happened in the run; its position."""
        with self._store.transaction() as session:
            self._require_running(session)
            return self._store.append(session, entry)

    def _update(self, **values: str | int) -> None:
        """Change columns of the run's row."""
        with self._store.transaction() as session:
            run = self._require_running(session)
            for column, value in values.items():
                setattr(run, column, value)

    def _require_running(self, session: Session) -> Run:
        """The run; RunEndedError if it was ended from outside, for the log must not go on with it then."""
        run = session.get_one(Run, self._plan.run)
        if run.ended:
            raise RunEndedError(f"Run {run.name!r} has {run.state}: {run.detail}")
        return run

    def _collect_commits(self, current: _Round) -> None:
        request = CommitRequest(
            round=current.identity,
            plan=self._plan,
            parameters=sha256(current.parameters),
            nonce_digest=sha256(current.nonce),
        )
        message = Envelope(Signed[CommitRequest].create(request, self._key).encode(), (current.parameters,))
        self._exchange(current, dict.fromkeys(current.members, message.to_bytes()), self._accept_commit)
        committed = sum(member.commit is not None for member in current.members.values())
        self._require_quorum(current, committed, "commits")

    def _accept_commit(self, current: _Round, member: _Member, reply: Envelope) -> None:
        reply.expect(0)
        signed = Signed[Commit].decode(reply.document)
        commit = signed.open(self._key_of(member))
        expected = (member.slot, self._plan.digest(), sha256(current.parameters))
        if member.commit is not None:
            raise VerificationError("second_commit", "the slot has a commit.")
        if (commit.slot, commit.plan, commit.parameters) != expected:
            raise VerificationError("commit_slot", "the commit is for another slot, plan or model.")
        member.chain = self._chain(member.participant.name)
        check_commit(self._plan, commit, member.chain)
        entry = CommitEntry(time=now(), commit=signed)
        with self._store.transaction() as session:
            self._require_running(session)
            require_active(session, member.participant.name, signed.key)
            self._store.claim_points(session, [*commit.randomness, *commit.gradient, *commit.lot])
            member.commit_position = self._store.append(session, entry)
        member.commit, member.commit_time = signed, entry.time

    def _key_of(self, member: _Member) -> str:
        """The participant's key in force; VerificationError `membership` if it was revoked meanwhile."""
        with self._store.transaction() as session:
            return require_active(session, member.participant.name).signing_key

    def _chain(self, participant: str) -> Chain | None:
        """The participant's enrolled records, if the plan is about any."""
        if isinstance(self._plan.mechanism, ReleaseMechanism):
            return None
        return enrolled_chain(self._store, participant, self._plan.task)

    # Beacon

    def _draw_beacon(self, current: _Round) -> dict[int, bytes]:
        """Fix the public randomness over the logged commits; returns the nodes' release requests."""
        view = self._store.view()
        current.beacon = derive_beacon(current.identity, view.checkpoint, current.nonce)
        self._log(
            BeaconEntry(
                time=now(),
                round=current.identity,
                checkpoint=view.checkpoint,
                nonce=current.nonce.hex(),
                beacon=current.beacon.hex(),
            )
        )
        return {
            node: self._release_request(current, member, view)
            for node, member in current.members.items()
            if member.commit is not None
        }

    def _release_request(self, current: _Round, member: _Member, view: LogView) -> bytes:
        request = ReleaseRequest(
            slot=member.slot,
            commit_time=member.commit_time,
            checkpoint=view.checkpoint,
            nonce=current.nonce.hex(),
            inclusion=view.inclusion(member.commit_position),
        )
        return Envelope(Signed[ReleaseRequest].create(request, self._key).encode()).to_bytes()

    # Release and verification

    def _collect_releases(self, current: _Round, requests: dict[int, bytes]) -> None:
        self._exchange(current, requests, self._accept_release)
        for member in current.members.values():
            if member.commit is not None and not member.ended:
                self._end(member, "aborted", "release_missing")

    def _accept_release(self, current: _Round, member: _Member, reply: Envelope) -> None:
        update, proof = reply.expect(2)
        signed = Signed[Release].decode(reply.document)
        # A slot has one key from commit to outcome: its proof is bound to it.
        release = signed.open(member.commit.key if member.commit else self._key_of(member))
        if member.commit is None or member.ended:
            raise VerificationError("second_outcome", "the slot has ended.")
        if release.slot != member.slot:
            raise VerificationError("release_slot", "the release is for another slot.")
        if (sha256(update), sha256(proof)) != (release.update, release.proof):
            raise VerificationError("attachment_digest", "the attachments are not those that were signed.")
        self._store.put_blob(update)
        self._store.put_blob(proof)
        self._log(ReleaseEntry(time=now(), release=signed))
        started = time.perf_counter()
        try:
            verify_release(
                self._plan,
                member.commit,
                current.beacon,
                signed,
                update,
                proof,
                current.parameters,
                member.chain,
            )
        except VerificationError as error:
            self._end(member, "rejected", error.check, time.perf_counter() - started)
            raise
        self._end(member, "accepted", "", time.perf_counter() - started)
        member.update = update_from_bytes(update, self._plan.dimension)

    def _end(self, member: _Member, verdict: Verdict, check: str, seconds: float = 0.0) -> None:
        """Log a slot's one outcome."""
        member.ended = True
        outcome = Outcome(
            time=now(), slot=member.slot, verdict=verdict, check=check, verify_ms=round(1000 * seconds)
        )
        self._log(outcome)

    # Aggregation and publication

    def _aggregate(self, current: _Round) -> None:
        accepted = {
            member.participant.name: member.update
            for member in current.members.values()
            if member.update is not None
        }
        self._require_quorum(current, len(accepted), "accepted updates")
        total = aggregate(list(accepted.values()), self._plan.dimension)
        parameters = parameters_to_bytes(self._optimizer.step(total))
        self._log(
            ModelEntry(
                time=now(),
                round=current.identity,
                accepted=sorted(accepted),
                aggregate=sha256(aggregate_to_bytes(total)),
                parameters=self._store.put_blob(parameters),
            )
        )
        _log.info(
            "round %d of run %s: %d updates aggregated",
            current.identity.number,
            self._plan.run,
            len(accepted),
        )

    def _publish(self) -> None:
        plan = self._plan
        identity = RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=plan.rounds)
        parameters = parameters_to_bytes(self._optimizer.published())
        metadata = model_metadata(plan, parameters, self._store.origin)
        model = expected_model(self._store.blob(plan.template), parameters, metadata)
        entry = Publication(
            time=now(),
            round=identity,
            parameters=self._store.put_blob(parameters),
            onnx=self._store.put_blob(model),
        )
        with self._store.transaction() as session:
            self._require_running(session).state = "finished"
            self._store.append(session, entry)

    # Exchanges

    def _exchange(
        self,
        current: _Round,
        requests: Mapping[int, bytes],
        accept: Callable[[_Round, _Member, Envelope], None],
    ) -> None:
        """One exchange with members of the round; a bad reply costs its sender the slot, nobody else."""

        def on_reply(node: int, payload: bytes) -> None:
            member = current.members[node]
            try:
                reply = Envelope.from_bytes(payload, (4 * MAX_DIMENSION, MAX_PROOF_BYTES))
                if kind_of(reply.document) == "Refusal":
                    refusal = Signed[Refusal].decode(reply.document).open(self._key_of(member))
                    raise FederationError(f"it declined: {refusal.reason}")
                accept(current, member, reply)
            except RunEndedError:
                raise
            except IntertwineError as error:
                self._note(current, member.participant.name, str(error))

        missing = self._transport.exchange(requests, self._plan.deadline_s, on_reply)
        for node, reason in missing.items():
            self._note(current, current.members[node].participant.name, f"no reply: {reason}")

    def _note(self, current: _Round, participant: str, what: str) -> None:
        _log.warning("round %d of run %s: %s: %s", current.identity.number, self._plan.run, participant, what)
        detail = f"round {current.identity.number}: {participant}: {what}"
        self._update(detail=detail)

    def _require_quorum(self, current: _Round, count: int, what: str) -> None:
        if count >= self._plan.quorum:
            return
        reason = f"{count} {what}, but the quorum is {self._plan.quorum}"
        end_run(self._store, self._plan, "failed", reason)
        raise FederationError(
            f"Round {current.identity.number} of run {self._plan.run!r} failed: {reason}.",
            "The model is as it was; see the log for each participant's reason.",
        )


def run(fleet: Fleet, config: Mapping[str, object]) -> None:
    """Drive the run that `config` names (keys home and run) over Flower's nodes, in Flower's process."""
    home = Home.open(Path(str(config["home"])))
    key = home.signing_key
    store = Store(home, key)
    plan = Plan.decode(store.run(str(config["run"])).plan)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        active = active_participants(store)
        nodes = {int(member.node_id) for member in active if member.name in plan.participants}
        _wait_for_nodes(fleet, nodes)
        RunDriver(store, key, plan, _FlowerTransport(fleet), coordinator_policy(home)).execute()
    except Exception as error:
        end_run(store, plan, "failed", f"{type(error).__name__}: {error}")
        raise


def _wait_for_nodes(fleet: Fleet, nodes: set[int]) -> None:
    """Give agents that have just been started some time to connect; those that do not are left out."""
    deadline = time.monotonic() + CONNECT_S
    while not nodes <= fleet.online() and time.monotonic() < deadline:
        time.sleep(0.5)


class _FlowerTransport:
    """Flower's nodes as a `Transport`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        replies = self._fleet.exchange(requests, timeout_s, on_reply)
        return {node: reply.reason for node, reply in replies.items() if not isinstance(reply, bytes)}
