"""What an agent refuses, whatever the coordinator says, and what it answers twice with the same bytes."""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from intertwine.client.budget import spent
from intertwine.client.home import TaskSettings
from intertwine.client.openings import Vector
from intertwine.client.participant import ReleaseWork, honest_release
from intertwine.client.policy import Policy
from intertwine.models.recipes import RECIPES
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import CommitEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import (
    Commit,
    CommitRequest,
    InclusionProof,
    Refusal,
    Release,
    ReleaseRequest,
    RoundId,
    Signed,
    Slot,
    kind_of,
)
from intertwine.protocols.signing import SigningKey
from tests.federation import ANY_PLAN, Member, MemoryFederation
from tests.toy import write_points

NONCE = b"n" * 32


@dataclass
class Coordinator:
    """Speaks to one participant as its coordinator would, or as a lying one."""

    federation: MemoryFederation
    member: Member
    plan: Plan
    parameters: bytes

    def commit_request(self, **changes: object) -> bytes:
        """A request for a commit to round 1."""
        identity = RoundId(deployment=self.plan.deployment, run=self.plan.run, task=self.plan.task, number=1)
        request = CommitRequest(
            round=identity, plan=self.plan, parameters=sha256(self.parameters), nonce_digest=sha256(NONCE)
        ).model_copy(update=changes)
        return self.sign(request, self.parameters)

    def sign(self, request: CommitRequest, parameters: bytes, key: SigningKey | None = None) -> bytes:
        signed = Signed[CommitRequest].create(request, key or self.federation.key)
        return Envelope(signed.encode(), (parameters,)).to_bytes()

    def committed(self) -> Signed[Commit]:
        """The participant's commit to round 1."""
        reply = self.member.participant.handle(self.commit_request())
        return Signed[Commit].decode(Envelope.from_bytes(reply, ()).document)

    def release_request(
        self,
        commit: Signed[Commit],
        *,
        nonce: bytes = NONCE,
        filler: bytes = b"first",
        covered: bool = True,
        key: SigningKey | None = None,
    ) -> bytes:
        """A request for the release, over a log of two entries of which one is the commit."""
        leaves = [leaf_hash(filler), leaf_hash(CommitEntry(time=7, commit=commit).encode())]
        root = Tree(leaves if covered else [leaf_hash(filler)] * 2).root(2)
        store = self.federation.store
        request = ReleaseRequest(
            slot=commit.body.slot,
            commit_time=7,
            checkpoint=sign_checkpoint(Checkpoint(store.origin, 2, root), key or self.federation.key),
            nonce=nonce.hex(),
            inclusion=InclusionProof(index=1, path=[leaves[0].hex()]),
        )
        signed = Signed[ReleaseRequest].create(request, self.federation.key)
        return Envelope(signed.encode()).to_bytes()

    def reason(self, message: bytes) -> str:
        """Why the participant refuses this request; fails if it does not."""
        reply = Envelope.from_bytes(self.member.participant.handle(message), (1 << 20, 1 << 20))
        return Signed[Refusal].decode(reply.document).open(self.member.key.public).reason


@pytest.fixture
def points_file(tmp_path: Path, toy: str) -> Path:
    return write_points(tmp_path / "points.csv", 30, seed=5)


@pytest.fixture
def coordinator(tmp_path: Path, points_file: Path) -> Coordinator:
    return _coordinator(tmp_path, points_file, 10.0)


def _coordinator(root: Path, file: Path, max_epsilon: float, policy: Policy = ANY_PLAN) -> Coordinator:
    federation = MemoryFederation(root)
    member = federation.add("alder", {"toy": file}, max_epsilon=max_epsilon, policy=policy)
    plan = federation.plan("toy", "one", rounds=2)
    return Coordinator(federation, member, plan, federation.store.blob(plan.initial))


def test_a_repeated_request_gets_the_same_bytes(coordinator: Coordinator) -> None:
    handle = coordinator.member.participant.handle
    request = coordinator.commit_request()
    first = handle(request)
    assert handle(request) == first
    commit = Signed[Commit].decode(Envelope.from_bytes(first, ()).document)
    release = handle(coordinator.release_request(commit))
    assert handle(coordinator.release_request(commit)) == release
    assert Signed[Release].decode(Envelope.from_bytes(release, (1 << 20, 1 << 20)).document).kind == "Release"
    assert len(coordinator.member.ledger.released("toy")) == 1


def test_the_ledger_is_private_and_forgets_the_secrets_of_a_release(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    slot = commit.body.slot.identifier().hex()
    row = coordinator.member.ledger.find(slot)
    assert row is not None
    assert len(row.seed) == 32
    coordinator.member.participant.handle(coordinator.release_request(commit))
    row = coordinator.member.ledger.find(slot)
    assert row is not None
    assert (row.seed, row.gradient) == (b"", b"")
    ledger = coordinator.federation.root / "alder" / "ledger.db"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600


def test_second_commit(coordinator: Coordinator) -> None:
    coordinator.committed()
    assert "second_commit" in coordinator.reason(coordinator.commit_request(nonce_digest=sha256(b"other")))


def test_second_beacon(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    coordinator.member.participant.handle(coordinator.release_request(commit))
    assert "second_beacon" in coordinator.reason(coordinator.release_request(commit, filler=b"second"))


def test_a_fourth_proof_is_refused_across_restarts(coordinator: Coordinator) -> None:
    """The agent dies in each proof, and each retry comes under another beacon."""

    def dies(_work: ReleaseWork) -> tuple[Vector, bytes]:
        raise FederationError("the process ends here.")

    commit, member = coordinator.committed(), coordinator.member
    member.releaser = dies
    for filler in (b"1", b"2", b"3", b"1"):
        member.restart()
        assert "process ends" in coordinator.reason(coordinator.release_request(commit, filler=filler))
    member.releaser = honest_release
    member.restart()
    assert "have served 3 proofs" in coordinator.reason(coordinator.release_request(commit, filler=b"4"))
    reply = member.participant.handle(coordinator.release_request(commit, filler=b"2"))
    assert Envelope.from_bytes(reply, (1 << 20, 1 << 20)).attachments


def test_nonce_not_precommitted(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    assert "beacon_nonce" in coordinator.reason(coordinator.release_request(commit, nonce=b"x" * 32))


def test_beacon_wrong_checkpoint(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    assert "log_inclusion" in coordinator.reason(coordinator.release_request(commit, covered=False))


def test_checkpoint_of_another_key(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    forged = coordinator.release_request(commit, key=SigningKey.generate())
    assert "checkpoint_signature" in coordinator.reason(forged)


def test_release_without_a_commit(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    body = commit.body.model_copy(
        update={
            "slot": Slot(round=commit.body.slot.round.model_copy(update={"number": 2}), participant="alder")
        }
    )
    unknown = Signed[Commit].create(body, coordinator.member.key)
    assert "release_slot" in coordinator.reason(coordinator.release_request(unknown))


def _other_model(plan: Plan) -> Plan:
    return plan.model_copy(update={"model": "0" * 64})


def _other_template(plan: Plan) -> Plan:
    return plan.model_copy(update={"template": "0" * 64})


def _other_deployment(plan: Plan) -> Plan:
    return plan.model_copy(update={"deployment": "0" * 64})


def _without_us(plan: Plan) -> Plan:
    return plan.model_copy(update={"participants": ["somebody-else"], "quorum": 1})


def _task_we_did_not_join(plan: Plan) -> Plan:
    return plan.model_copy(update={"task": "forecast"})


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_other_model, "request_task"),
        (_other_template, "another ONNX graph"),
        (_other_deployment, "request_round"),
        (_without_us, "request_round"),
        (_task_we_did_not_join, "forecast"),
    ],
)
def test_a_plan_that_is_not_ours(
    coordinator: Coordinator, change: Callable[[Plan], Plan], check: str
) -> None:
    coordinator.plan = change(coordinator.plan)
    assert check in coordinator.reason(coordinator.commit_request())


def test_a_plan_that_changes_during_its_run(coordinator: Coordinator) -> None:
    coordinator.committed()
    changed = coordinator.plan.model_copy(update={"sigma": 100})
    identity = RoundId(deployment=changed.deployment, run="one", task="toy", number=2)
    assert "request_plan" in coordinator.reason(coordinator.commit_request(plan=changed, round=identity))


def test_parameters_that_were_not_signed(coordinator: Coordinator) -> None:
    message = coordinator.commit_request(parameters="0" * 64)
    assert "request_parameters" in coordinator.reason(message)


def test_a_request_of_another_coordinator_is_not_answered_at_all(coordinator: Coordinator) -> None:
    request = (
        Signed[CommitRequest]
        .decode(Envelope.from_bytes(coordinator.commit_request(), (1 << 20,)).document)
        .body
    )
    forged = coordinator.sign(request, coordinator.parameters, SigningKey.generate())
    with pytest.raises(VerificationError, match="signature"):
        coordinator.member.participant.handle(forged)


@pytest.mark.parametrize("message", [b"", b"ITW1", b"ITW1\xff\xff\xff\xff", b"x" * 100])
def test_garbage_is_not_answered(coordinator: Coordinator, message: bytes) -> None:
    with pytest.raises(InputError):
        coordinator.member.participant.handle(message)


def test_a_plan_beyond_the_limit_is_refused_before_anything_is_spent(
    tmp_path: Path, points_file: Path
) -> None:
    coordinator = _coordinator(tmp_path, points_file, max_epsilon=3.0)
    reason = coordinator.reason(coordinator.commit_request())
    assert "limit of 3" in reason
    assert spent(coordinator.member.ledger, "toy") == []


BOUNDS = Policy(min_noise=1.5, max_record_norm=1.0, max_rounds=2, max_delta=1e-5)
"""The limits within which the plan of these tests just lies."""


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (replace(BOUNDS, min_noise=1.6), "noise sigma / record_bound is 1.56, below .* min_noise of 1.6"),
        (replace(BOUNDS, max_record_norm=0.5), "record_norm is 1, above .* max_record_norm of 0.5"),
        (replace(BOUNDS, max_rounds=1), "rounds is 2, above .* max_rounds of 1"),
        (replace(BOUNDS, max_delta=1e-6), "delta is 1e-05, above .* max_delta of 1e-06"),
    ],
)
def test_a_plan_outside_the_policy_is_refused_with_the_reason(
    tmp_path: Path, points_file: Path, policy: Policy, words: str
) -> None:
    coordinator = _coordinator(tmp_path, points_file, 10.0, policy)
    assert re.search(words, coordinator.reason(coordinator.commit_request()))
    assert coordinator.member.ledger.slots("toy") == []


def test_a_plan_within_the_policy_is_accepted(tmp_path: Path, points_file: Path) -> None:
    _coordinator(tmp_path, points_file, 10.0, BOUNDS).committed()


def test_the_coordinator_is_told_why_a_plan_is_outside_the_policy(tmp_path: Path, points_file: Path) -> None:
    coordinator = _coordinator(tmp_path, points_file, 10.0, replace(BOUNDS, max_rounds=1))
    with pytest.raises(FederationError, match="0 commits"):
        coordinator.federation.execute(coordinator.plan)
    detail = coordinator.federation.store.run("one").detail
    assert "quorum is 1; before that: round 1: alder: it declined" in detail
    assert "max_rounds of 1" in detail


def test_limits_come_from_the_recipe_unless_they_are_set(points_file: Path) -> None:
    chosen = TaskSettings(data=points_file, max_rounds=3)
    assert chosen.policy("toy") == Policy(
        min_noise=0.25 * 50 / 32, max_record_norm=2.0, max_rounds=3, max_delta=1e-5
    )
    for found in RECIPES.values():
        policy = Policy.of(found)
        assert policy.min_noise < found.sigma / found.record_bound
        assert policy.max_rounds > found.rounds


RENAMED = [("two", 1), ("three", 2), ("four", 2)]


def test_the_ledger_counts_whatever_the_coordinator_calls_it(tmp_path: Path, points_file: Path) -> None:
    """Each run is claimed to be new, and each round to be the last; the third commit would be too much."""
    coordinator = _coordinator(tmp_path, points_file, max_epsilon=4.5)
    answered = []
    for run, number in RENAMED:
        coordinator.plan = coordinator.plan.model_copy(update={"run": run, "rounds": number})
        identity = RoundId(deployment=coordinator.plan.deployment, run=run, task="toy", number=number)
        reply = coordinator.member.participant.handle(coordinator.commit_request(round=identity))
        answered.append(kind_of(Envelope.from_bytes(reply, ()).document))
    assert answered == ["Commit", "Commit", "Refusal"]
    coordinator.member.restart()
    assert "limit of 4.5" in coordinator.reason(coordinator.commit_request(round=identity))


def test_an_open_slot_of_another_run_counts_against_the_limit(tmp_path: Path, points_file: Path) -> None:
    coordinator = _coordinator(tmp_path, points_file, max_epsilon=4.5)
    commit = coordinator.committed()  # the first of two rounds, which together cost 4.26
    coordinator.plan = coordinator.federation.plan("toy", "two", rounds=2)
    reason = coordinator.reason(coordinator.commit_request())
    assert "(open slots that count: 1), above this participant's limit of 4.5. Raise its" in reason
    coordinator.member.participant.handle(coordinator.release_request(commit))
    assert len(coordinator.member.ledger.released("toy")) == 1


def test_a_full_disk_loses_nothing_and_sends_nothing(coordinator: Coordinator) -> None:
    commit = coordinator.committed()
    with coordinator.member.ledger.transaction() as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1")
    reason = coordinator.reason(coordinator.release_request(commit))
    assert "full" in reason
    assert coordinator.member.ledger.released("toy") == []
    with coordinator.member.ledger.transaction() as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1000000")
    reply = coordinator.member.participant.handle(coordinator.release_request(commit))
    assert Envelope.from_bytes(reply, (1 << 20, 1 << 20)).attachments
