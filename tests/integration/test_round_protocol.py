"""Rounds between the real coordinator and real participants in memory, honest and otherwise."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from intertwine.client.budget import spent
from intertwine.client.openings import Vector
from intertwine.client.participant import ReleaseWork, honest_release
from intertwine.protocols.accounting import Assurance
from intertwine.protocols.entries import (
    CommitEntry,
    Failure,
    ModelEntry,
    Outcome,
    Publication,
    ReleaseEntry,
)
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import Commit, Signed
from intertwine.protocols.signing import SigningKey
from intertwine.server.closing import end_run
from intertwine.server.rounds import OnReply
from intertwine.zk.audit import verify_bundle
from tests.federation import MemoryFederation, halved_noise
from tests.toy import write_points

Make = Callable[..., MemoryFederation]


@pytest.fixture
def data(tmp_path: Path, toy: str) -> Callable[[str], dict[str, Path]]:
    """Invented records for a participant."""

    def write(name: str) -> dict[str, Path]:
        return {toy: write_points(tmp_path / f"{name}.csv", 30, seed=len(name))}

    return write


@pytest.fixture
def pair(tmp_path: Path, data: Callable[[str], dict[str, Path]]) -> MemoryFederation:
    """Two honest participants."""
    federation = MemoryFederation(tmp_path)
    federation.add("alder", data("alder"))
    federation.add("birch-co", data("birch-co"))
    return federation


def test_an_honest_run_is_published_and_passes_the_audit(pair: MemoryFederation) -> None:
    pair.execute(pair.plan("toy", "two-rounds", rounds=2))

    assert [entry.accepted for entry in pair.entries(ModelEntry)] == [["alder", "birch-co"]] * 2
    assert len(pair.entries(Publication)) == 1
    assert pair.store.run("two-rounds").state == "finished"
    verdict = verify_bundle(pair.bundle(), Policy.of_key(pair.store.deployment))
    assert verdict.passed
    costs = {row.assurance: row.guarantee for row in spent(pair.members["alder"].ledger, "toy")}
    audited = {row.assurance: row.guarantee for row in verdict.privacy if row.participant == "alder"}
    assert costs == audited
    assert set(costs) == {Assurance.PROVEN_PARTICIPANT, Assurance.ATTESTED_RECORD}


def test_a_participant_that_halves_its_noise_is_rejected_and_the_round_goes_on(
    tmp_path: Path, data: Callable[[str], dict[str, Path]]
) -> None:
    federation = MemoryFederation(tmp_path)
    federation.add("honest", data("honest"))
    federation.add("cheater", data("cheater"), releaser=halved_noise)
    federation.execute(federation.plan("toy", "one", quorum=1))

    outcomes = {entry.slot.participant: (entry.verdict, entry.check) for entry in federation.entries(Outcome)}
    assert outcomes == {"honest": ("accepted", ""), "cheater": ("rejected", "constraint_identity")}
    (model,) = federation.entries(ModelEntry)
    assert model.accepted == ["honest"]
    verdict = verify_bundle(federation.bundle(), Policy.of_key(federation.store.deployment))
    assert verdict.passed
    assert all(
        row.guarantee.epsilon == float("inf") for row in verdict.privacy if row.participant == "cheater"
    )


def test_a_proof_of_the_wrong_length_is_rejected_by_name(
    tmp_path: Path, data: Callable[[str], dict[str, Path]]
) -> None:
    def truncated(work: ReleaseWork) -> tuple[Vector, bytes]:
        update, proof = honest_release(work)
        return update, proof[:-1]

    federation = MemoryFederation(tmp_path)
    federation.add("short", data("short"), releaser=truncated)
    with pytest.raises(FederationError, match="quorum"):
        federation.execute(federation.plan("toy", "one"))
    (outcome,) = federation.entries(Outcome)
    assert (outcome.verdict, outcome.check) == ("rejected", "proof_length")


def test_a_round_below_its_quorum_fails_loudly_and_leaves_the_model(pair: MemoryFederation) -> None:
    pair.tamper = lambda name, kind, reply: None
    with pytest.raises(FederationError, match="quorum is 2"):
        pair.execute(pair.plan("toy", "silent"))
    assert pair.entries(ModelEntry) == []
    (failure,) = pair.entries(Failure)
    assert "0 commits" in failure.reason
    run = pair.store.run("silent")
    assert run.state == "failed"
    assert all(f"{name}: no reply: withheld" in run.detail for name in ("alder", "birch-co"))


def test_a_commit_without_a_release_is_an_abort_and_the_others_go_on(pair: MemoryFederation) -> None:
    pair.tamper = lambda name, kind, reply: None if (name, kind) == ("alder", "release") else reply
    pair.execute(pair.plan("toy", "aborted", quorum=1))
    outcomes = {entry.slot.participant: entry.verdict for entry in pair.entries(Outcome)}
    assert outcomes == {"alder": "aborted", "birch-co": "accepted"}
    pair.assert_passes()


def test_a_release_for_a_closed_round_is_refused(pair: MemoryFederation) -> None:
    replies: dict[tuple[str, str], bytes] = {}
    pair.tamper = lambda name, kind, reply: replies.setdefault((name, kind), reply)
    pair.execute(pair.plan("toy", "first"))

    def replay(name: str, kind: str, reply: bytes) -> bytes:
        return replies[name, kind] if (name, kind) == ("alder", "release") else reply

    pair.tamper = replay
    pair.execute(pair.plan("toy", "second", quorum=1))
    second = [entry for entry in pair.entries(Outcome) if entry.slot.round.run == "second"]
    assert {entry.slot.participant: entry.verdict for entry in second} == {
        "alder": "aborted",
        "birch-co": "accepted",
    }
    assert "release_slot" in pair.store.run("second").detail


def _copied_from_first(federation: MemoryFederation) -> Callable[[str, str, bytes], bytes]:
    """birch-co signs, under its own name, the commitments that alder has just sent."""
    seen: list[Commit] = []

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        commit = Signed[Commit].decode(Envelope.from_bytes(reply, ()).document).body
        if name == "alder":
            seen.append(commit)
            return reply
        copied = commit.model_copy(update={"randomness": seen[0].randomness, "gradient": seen[0].gradient})
        return Envelope(Signed[Commit].create(copied, federation.members[name].key).encode()).to_bytes()

    return tamper


def _signed_by_another(federation: MemoryFederation) -> Callable[[str, str, bytes], bytes]:
    def tamper(_name: str, _kind: str, reply: bytes) -> bytes:
        commit = Signed[Commit].decode(Envelope.from_bytes(reply, ()).document).body
        return Envelope(Signed[Commit].create(commit, SigningKey.generate()).encode()).to_bytes()

    return tamper


def _truncated(_federation: MemoryFederation) -> Callable[[str, str, bytes], bytes]:
    return lambda _name, _kind, reply: reply[:-1]


def _trailing(_federation: MemoryFederation) -> Callable[[str, str, bytes], bytes]:
    return lambda _name, _kind, reply: reply + b"\x00"


def _identity_point(federation: MemoryFederation) -> Callable[[str, str, bytes], bytes]:
    def tamper(name: str, _kind: str, reply: bytes) -> bytes:
        commit = Signed[Commit].decode(Envelope.from_bytes(reply, ()).document).body
        altered = commit.model_copy(update={"gradient": ["c0" + "00" * 47]})
        return Envelope(Signed[Commit].create(altered, federation.members[name].key).encode()).to_bytes()

    return tamper


@pytest.mark.parametrize(
    ("attack", "accepted"),
    [
        pytest.param(_copied_from_first, 1, id="copied_commitment"),
        pytest.param(_signed_by_another, 0, id="signed_by_another"),
        pytest.param(_truncated, 0, id="truncated"),
        pytest.param(_trailing, 0, id="trailing_bytes"),
        pytest.param(_identity_point, 0, id="identity_point"),
    ],
)
def test_a_bad_commit_never_reaches_the_log(
    pair: MemoryFederation,
    attack: Callable[[MemoryFederation], Callable[[str, str, bytes], bytes]],
    accepted: int,
) -> None:
    pair.tamper = attack(pair)
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(pair.plan("toy", "attacked"))
    assert len(pair.entries(CommitEntry)) == accepted
    assert pair.entries(ReleaseEntry) == []


def test_launching_checks_the_whole_plan_before_anything_starts(pair: MemoryFederation) -> None:
    before = pair.store.entries()
    with pytest.raises(InputError, match="dimension"):
        pair.plan("toy", "other-model", dimension=1361)
    with pytest.raises(InputError, match="nobody"):
        pair.plan("toy", "stranger", participants=["alder", "nobody"])
    with pytest.raises(InputError, match="sigma"):
        pair.plan("toy", "weak", sigma=3)
    with pytest.raises(InputError, match="quorum"):
        pair.plan("toy", "large", quorum=5)
    with pytest.raises(InputError, match="unknown_field"):
        pair.plan("toy", "typo", unknown_field=1)
    assert pair.store.entries() == before


def test_a_second_commit_for_a_slot_is_refused(pair: MemoryFederation) -> None:
    exchange = pair.exchange

    def twice(requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply) -> Mapping[int, str]:
        def repeat(node: int, reply: bytes) -> None:
            on_reply(node, reply)
            on_reply(node, reply)

        return exchange(requests, timeout_s, repeat)

    pair.exchange = twice  # type: ignore[method-assign]
    pair.execute(pair.plan("toy", "twice"))
    assert (
        len(pair.entries(CommitEntry)) == len(pair.entries(ReleaseEntry)) == len(pair.entries(Outcome)) == 2
    )
    pair.assert_passes()


def test_a_run_that_dies_between_release_and_outcome_is_closed_completely(pair: MemoryFederation) -> None:
    """Killed after it logged the first release: closing judges that one, and aborts the other."""

    class Killed(BaseException):
        pass

    def kill(*_arguments: object) -> None:
        raise Killed

    plan = pair.plan("toy", "killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intertwine.server.judging.verify_release", kill)
        with pytest.raises(Killed):
            pair.execute(plan)
    assert len(pair.entries(ReleaseEntry)) == 1
    end_run(pair.store, plan, "failed", "its process was killed")
    end_run(pair.store, plan, "stopped", "a second time")

    ends = {entry.slot.participant: entry.verdict for entry in pair.entries(Outcome)}
    assert ends == {"alder": "accepted", "birch-co": "aborted"}
    assert [entry.reason for entry in pair.entries(Failure)] == ["its process was killed"]
    assert pair.store.run("killed").state == "failed"
    pair.assert_passes()
