"""Driving a run: plan → commit → beacon → release → verify → aggregate → publish.

The driver sees participants only through a `Transport`; in production that is Flower, in most tests a
federation in memory. What it has to do next follows from `RunState`, which follows from the log, so that a
new driver goes on where another was killed. Everything that happens is an entry, written before its
consequences; requests that are sent twice are answered with the same bytes.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy.orm import Session

from intertwine.protocols.aggregation import (
    ServerOptimizer,
    Update,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
)
from intertwine.protocols.checkpoint import open_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Entry,
    ModelEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
)
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, IntertwineError, StorageError, VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.model_file import expected_model
from intertwine.protocols.plan import MAX_DIMENSION, Plan
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import (
    Commit,
    CommitRequest,
    Refusal,
    Release,
    ReleaseRequest,
    Signed,
    derive_beacon,
    kind_of,
)
from intertwine.protocols.signing import SigningKey
from intertwine.server.closing import end_run
from intertwine.server.cosigning import gather
from intertwine.server.datasets import enrolled_chain
from intertwine.server.judging import Judge
from intertwine.server.membership import require_active, revoked
from intertwine.server.run_state import Phase, RoundState, RunState, SlotState
from intertwine.server.store import LogView, Participant, Rejection, RoundNonce, Run, Store, now
from intertwine.zk.round_proof import check_commit
from intertwine.zk.training_record import model_metadata

MAX_PROOF_BYTES = 1 << 20
MAX_REPLY_BYTES = 1 << 17
"""Of the document of a reply; the largest, a commit, has a third of that."""
_ATTACHMENTS = (4 * MAX_DIMENSION, MAX_PROOF_BYTES)
_log = logging.getLogger(__name__)

OnReply = Callable[[int, bytes], None]


class RunEndedError(FederationError):
    """The run was ended from outside while it went on."""


class Transport(Protocol):
    """Carries one request to each node and brings the replies back as they come."""

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        """Call `on_reply(node, payload)` for every reply; return node → reason for those without one."""


class RunDriver:
    """Drives one run from where its log stands to the publication of its model."""

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
        self._judge = Judge(store, plan)
        self._state = RunState.of(plan, store.run_entries(plan.run)).resumed()
        self._optimizer = self._replay()
        self._problems: dict[str, str] = {}  # by participant: what cost it its slot of the open round

    def execute(self) -> None:
        """Run what is left of the rounds and publish.

        FederationError, after logging it, if a round lacks its quorum; RunEndedError if the run was ended
        from outside. Any other error leaves the run as it is, for another driver to go on with.
        """
        with self._store.transaction() as session:
            self._require_running(session).state = "running"
        steps = {
            Phase.PLAN: self._open,
            Phase.COMMIT: self._commit,
            Phase.RELEASE: self._release,
            Phase.VERIFY: self._verify,
            Phase.AGGREGATE: self._aggregate,
            Phase.PUBLISH: self._publish,
        }
        while (phase := self._state.phase) is not Phase.ENDED:
            steps[phase]()

    def _replay(self) -> ServerOptimizer:
        """The optimiser after the rounds that have a model; its bytes must be those in the log."""
        plan = self._plan
        initial = parameters_from_bytes(self._store.blob(plan.initial), plan.dimension)
        optimizer = ServerOptimizer(plan, initial)
        for ended in self._state.rounds:
            if ended.model is None:
                continue
            parameters = optimizer.step(self._total(ended))
            if sha256(parameters_to_bytes(parameters)) != ended.model.parameters:
                raise FederationError(
                    f"Run {plan.run!r} cannot go on: the stored updates of round {ended.identity.number} do "
                    "not lead to the model in the log.",
                    "Restore the coordinator's home from a backup that is whole.",
                )
        return optimizer

    # Plan: the round's slots

    def _open(self) -> None:
        plan = self._plan
        self._problems.clear()
        identity = self._state.next_round_id()
        digest = self._store.put_blob(parameters_to_bytes(self._optimizer.parameters))
        nonce = secrets.token_bytes(32)
        with self._changing() as session:
            gone = revoked(session, plan.participants)
            session.add(RoundNonce(run=plan.run, number=identity.number, nonce=nonce.hex()))
            opened = RoundOpened(
                time=now(),
                round=identity,
                parameters=digest,
                nonce_digest=sha256(nonce),
                participants=[name for name in plan.participants if name not in gone],
            )
            self._append(session, opened)

    # Commit and beacon

    def _commit(self) -> None:
        current = self._current()
        request = CommitRequest(
            round=current.identity,
            plan=self._plan,
            parameters=current.opened.parameters,
            nonce_digest=current.opened.nonce_digest,
        )
        parameters = self._store.blob(current.opened.parameters)
        message = Envelope(Signed[CommitRequest].create(request, self._key).encode(), (parameters,))
        asked = [name for name, slot in current.slots.items() if slot.commit is None]
        self._exchange(dict.fromkeys(asked, message.to_bytes()), self._accept_commit)
        self._require_quorum(len(self._current().committed), "commits")
        self._draw_beacon()

    def _accept_commit(self, name: str, reply: Envelope) -> None:
        reply.expect(0)
        current, plan = self._current(), self._plan
        signed = Signed[Commit].decode(reply.document)
        commit = signed.open(self._key_of(name))
        if current.slots[name].commit is not None:
            raise VerificationError("second_commit", "the slot has a commit.")
        expected = (current.slot(name), plan.digest(), current.opened.parameters)
        if (commit.slot, commit.plan, commit.parameters) != expected:
            raise VerificationError("commit_slot", "the commit is for another slot, plan or model.")
        bound = not isinstance(plan.mechanism, ReleaseMechanism)
        check_commit(plan, commit, enrolled_chain(self._store, name, plan.task) if bound else None)
        with self._changing() as session:
            require_active(session, name, signed.key)
            self._store.claim_points(session, [*commit.randomness, *commit.gradient, *commit.lot])
            self._append(session, CommitEntry(time=now(), commit=signed))
        _log.info("commit accepted", extra=self._context(name))

    def _key_of(self, name: str) -> str:
        """A participant's key in force; VerificationError `membership` if it was revoked meanwhile."""
        with self._store.reading() as session:
            return require_active(session, name).signing_key

    def _draw_beacon(self) -> None:
        """Fix the public randomness over the logged commits."""
        identity = self._current().identity
        checkpoint = self._store.view().checkpoint
        with self._changing() as session:
            nonce = session.get_one(RoundNonce, (self._plan.run, identity.number)).nonce
            beacon = derive_beacon(identity, checkpoint, bytes.fromhex(nonce))
            self._append(
                session,
                BeaconEntry(
                    time=now(), round=identity, checkpoint=checkpoint, nonce=nonce, beacon=beacon.hex()
                ),
            )

    # Release and verification

    def _release(self) -> None:
        current = self._current()
        asked = {name: slot for name, slot in current.committed.items() if slot.pending}
        view = self._view_of(current)
        requests = {name: self._release_request(current, name, slot, view) for name, slot in asked.items()}
        self._exchange(requests, self._accept_release)
        for name in asked:
            if self._current().slots[name].pending:
                self._end(name)

    def _view_of(self, current: RoundState) -> LogView:
        """The log under the checkpoint of a round's beacon, which is logged: every driver asks the same."""
        if current.beacon is None:
            raise FederationError(f"Round {current.identity.number} has no beacon yet.")
        note = current.beacon.checkpoint
        size = open_checkpoint(note, self._store.origin, self._store.deployment).size
        return LogView(note, size, self._store.view().tree)

    def _release_request(self, current: RoundState, name: str, slot: SlotState, view: LogView) -> bytes:
        if current.beacon is None or slot.commit is None:
            raise FederationError(f"Nothing can be asked of {name!r} before commit and beacon.")
        request = ReleaseRequest(
            slot=current.slot(name),
            commit_time=slot.commit.time,
            checkpoint=view.checkpoint,
            nonce=current.beacon.nonce,
            inclusion=view.inclusion(slot.position),
        )
        return Envelope(Signed[ReleaseRequest].create(request, self._key).encode()).to_bytes()

    def _accept_release(self, name: str, reply: Envelope) -> None:
        update, proof = reply.expect(2)
        current = self._current()
        slot = current.slots[name]
        signed = Signed[Release].decode(reply.document)
        # A slot has one key from commit to outcome: its proof is bound to it.
        release = signed.open(slot.commit.commit.key if slot.commit else self._key_of(name))
        if not slot.pending:
            raise VerificationError("second_outcome", "the slot has ended.")
        if release.slot != current.slot(name):
            raise VerificationError("release_slot", "the release is for another slot.")
        if (sha256(update), sha256(proof)) != (release.update, release.proof):
            raise VerificationError("attachment_digest", "the attachments are not those that were signed.")
        self._store.put_blob(update)
        self._store.put_blob(proof)
        self._record(ReleaseEntry(time=now(), release=signed))
        self._end(name)

    def _verify(self) -> None:
        """Judge the releases that were logged and not judged when the driver before this one ended."""
        for name, slot in self._current().slots.items():
            if slot.pending and slot.release is not None:
                self._end(name)

    def _end(self, name: str) -> None:
        """Judge a slot and log its one outcome."""
        outcome, problem = self._judge.judge(self._current(), name)
        self._record(outcome)
        if outcome.verdict == "accepted":
            _log.info("release accepted", extra=self._context(name))
        if problem:
            self._note(name, problem)

    # Aggregation and publication

    def _aggregate(self) -> None:
        current = self._current()
        self._require_quorum(len(current.accepted), "accepted updates")
        total = self._total(current)
        parameters = self._store.put_blob(parameters_to_bytes(self._optimizer.step(total)))
        entry = ModelEntry(
            time=now(),
            round=current.identity,
            accepted=sorted(current.accepted),
            aggregate=sha256(aggregate_to_bytes(total)),
            parameters=parameters,
        )
        with self._changing() as session:
            self._append(session, entry)
            self._require_running(session).finished_rounds = current.identity.number
        context = {"run": self._plan.run, "round": current.identity.number}
        _log.info("%d updates aggregated", len(entry.accepted), extra=context)
        self._have_cosigned()

    def _total(self, ended: RoundState) -> Update:
        """The sum of a round's accepted updates."""
        digests = [entry.release.body.update for _, entry in sorted(ended.accepted.items())]
        updates = (update_from_bytes(self._store.blob(each), self._plan.dimension) for each in digests)
        return aggregate(updates, self._plan.dimension)

    def _publish(self) -> None:
        parameters = parameters_to_bytes(self._optimizer.published())
        entries = self._store.run_entries(self._plan.run)
        metadata = model_metadata(self._store.origin, entries, parameters)
        model = expected_model(self._store.blob(self._plan.template), parameters, metadata)
        entry = Publication(
            time=now(),
            round=self._state.round_id(),
            parameters=self._store.put_blob(parameters),
            onnx=self._store.put_blob(model),
        )
        with self._changing() as session:
            self._require_running(session).state = "finished"
            self._append(session, entry)
        self._have_cosigned()

    def _have_cosigned(self) -> None:
        if self._witnesses is not None:
            gather(self._store, self._witnesses)

    # The log and the run's row

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        """A transaction that changes the run; the state follows once it has landed."""
        before = self._state
        try:
            with self._store.transaction() as session:
                self._require_running(session)
                yield session
        except BaseException:
            self._state = before
            raise

    def _append(self, session: Session, entry: Entry) -> None:
        self._state = self._state.after(self._store.append(session, entry), entry)

    def _record(self, entry: Entry) -> None:
        with self._changing() as session:
            self._append(session, entry)

    def _require_running(self, session: Session) -> Run:
        """The run; RunEndedError if it was ended from outside, for the log must not go on with it then."""
        run = session.get_one(Run, self._plan.run)
        if run.ended:
            raise RunEndedError(f"Run {run.name!r} has {run.state}: {run.detail}")
        return run

    def _current(self) -> RoundState:
        if self._state.current is None:
            raise FederationError(f"Run {self._plan.run!r} has no open round.")
        return self._state.current

    # Exchanges

    def _exchange(self, requests: Mapping[str, bytes], accept: Callable[[str, Envelope], None]) -> None:
        """Ask members of the round; a bad reply costs its sender the slot, nobody else."""
        names = self._nodes(requests)

        def on_reply(node: int, payload: bytes) -> None:
            name = names[node]
            try:
                reply = Envelope.from_bytes(payload, _ATTACHMENTS, MAX_REPLY_BYTES)
                if kind_of(reply.document) == "Refusal":
                    refusal = Signed[Refusal].decode(reply.document).open(self._key_of(name))
                    self._note(name, f"it declined: {refusal.reason}", "refusal")
                else:
                    accept(name, reply)
            except (RunEndedError, StorageError):  # not the participant's fault
                raise
            except VerificationError as error:
                self._note(name, str(error), error.check)
            except IntertwineError as error:
                self._note(name, str(error), "malformed")

        asked = {node: requests[name] for node, name in names.items()}
        missing = self._transport.exchange(asked, self._plan.deadline_s, on_reply)
        for node, reason in missing.items():
            self._note(names[node], f"no reply: {reason}")

    def _nodes(self, names: Iterable[str]) -> dict[int, str]:
        """The Flower nodes of participants."""
        with self._store.reading() as session:
            return {int(session.get_one(Participant, name).node_id): name for name in names}

    def _note(self, participant: str, what: str, check: str = "") -> None:
        """Say what cost a participant its slot. check: what its reply failed, if the log does not tell."""
        run, number = self._plan.run, self._current().identity.number
        _log.warning("%s", what, extra=self._context(participant))
        self._problems[participant] = what
        with self._store.transaction() as session:
            self._require_running(session).detail = f"round {number}: {participant}: {what}"
            if check:
                session.merge(Rejection(run=run, round=number, participant=participant, check=check))

    def _context(self, participant: str) -> dict[str, str | int]:
        """What an event of the open round belongs to."""
        current = self._current()
        return {
            "run": self._plan.run,
            "round": current.identity.number,
            "participant": participant,
            "slot": current.slot(participant).identifier().hex(),
        }

    def _require_quorum(self, count: int, what: str) -> None:
        if count >= self._plan.quorum:
            return
        number = self._state.number
        reason = f"{count} {what}, but the quorum is {self._plan.quorum}"
        if self._problems:
            everyones = "; ".join(f"{name}: {problem}" for name, problem in self._problems.items())
            with self._store.transaction() as session:
                self._require_running(session).detail = f"round {number}: {everyones}"[:500]
        end_run(self._store, self._plan, "failed", reason)
        raise FederationError(
            f"Round {number} of run {self._plan.run!r} failed: {reason}.",
            "The model is as it was; see the log for each participant's reason.",
        )
