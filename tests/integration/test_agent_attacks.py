"""Attacks on an agent and with one: stolen and shared keys, replays, clocks, and wrong envelopes.

INTERTWINE_FUZZ_ENVELOPES says how many of those; a few thousand unless it is set,
and 100,000 in `make fuzz`.
"""

import contextlib
import logging
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from intertwine.client.ledger import Ledger
from intertwine.client.participant import Participant, honest_release
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import decode
from intertwine.protocols.entries import CommitEntry, Outcome, ReleaseEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, InputError, IntertwineError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.round import (
    Commit,
    InclusionProof,
    Refusal,
    ReleaseRequest,
    Signed,
)
from intertwine.protocols.signing import SigningKey
from intertwine.server.launch import launch
from intertwine.server.rounds import OnReply, RunDriver
from tests.federation import Member, MemoryFederation
from tests.fuzzing import Fuzzer, Reception
from tests.toy import write_points

ENVELOPES = int(os.environ.get("INTERTWINE_FUZZ_ENVELOPES", "4000"))
"""How many wrong envelopes agent and coordinator get together."""
SLOW_S = 0.2
"""Processor time of one message; usual is a millisecond, a parser gone astray takes hundreds."""
LIMITS = (1 << 20, 1 << 20)


@pytest.fixture
def federation(tmp_path: Path, toy: str) -> MemoryFederation:
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "birch"), 1):
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 8, seed)})
    return federation


def second_agent(federation: MemoryFederation, name: str) -> Participant:
    """Somebody else with the same keys and data, and a ledger of its own."""
    member = federation.members[name]
    ledger = Ledger(federation.root / f"{name}-again.db", begun=True)
    return Participant(member.identity, member.tasks, ledger, honest_release)


def reason(reply: bytes) -> str:
    return Signed[Refusal].decode(Envelope.from_bytes(reply, ()).document).body.reason


# Keys


def test_two_agents_with_one_key_make_one_commit_and_one_release(federation: MemoryFederation) -> None:
    """Both answer every request; the first commit counts, and only who made it can release for it."""
    other, answers = second_agent(federation, "alder"), []

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if name == "alder":
            answers.append((kind, other.handle(federation.requests[-1][1])))
        return reply

    federation.tamper = tamper
    federation.execute(federation.plan("toy", "one", participants=["alder"], quorum=1))
    assert [kind for kind, _ in answers] == ["commit", "release"]
    assert "log_inclusion" in reason(answers[1][1])
    assert len(federation.entries(CommitEntry)) == len(federation.entries(ReleaseEntry)) == 1


def test_a_commit_of_a_second_agent_with_the_same_key_is_refused(
    federation: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes the other's place between commit and beacon: a slot has one commit."""
    other, exchange = second_agent(federation, "alder"), federation.exchange

    def twice(requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply) -> Mapping[int, str]:
        missing = exchange(requests, timeout_s, on_reply)
        node = federation.members["alder"].node
        if b'"kind":"CommitRequest"' in requests[node]:
            on_reply(node, other.handle(requests[node]))
        return missing

    federation.exchange = twice  # type: ignore[method-assign]
    federation.execute(federation.plan("toy", "one", participants=["alder"], quorum=1))
    assert "check second_commit failed" in caplog.text
    assert len(federation.entries(CommitEntry)) == 1


def test_a_stolen_node_key_without_the_signing_key_is_of_no_use(federation: MemoryFederation) -> None:
    """The thief answers on alder's connection: its replies are not alder's, and the round goes on without."""
    thief = replace(federation.members["alder"].identity, key=SigningKey.generate())
    member = federation.members["alder"]
    ledger = Ledger(federation.root / "thief.db", begun=True)
    member.participant = Participant(thief, member.tasks, ledger, honest_release)
    federation.execute(federation.plan("toy", "one", quorum=1))
    verdicts = {entry.slot.participant: entry.verdict for entry in federation.entries(Outcome)}
    assert verdicts == {"birch": "accepted"}


# Replays


def test_a_reply_of_another_participant_is_not_ones_own(federation: MemoryFederation) -> None:
    """birch hands in what alder has sent, commit and release: signed by alder, they are not birch's."""
    sent: dict[str, bytes] = {}

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        sent.setdefault(kind, reply)
        return sent[kind] if name == "birch" else reply

    federation.tamper = tamper
    federation.execute(federation.plan("toy", "one", quorum=1))
    released = [entry.release.body.slot.participant for entry in federation.entries(ReleaseEntry)]
    assert released == ["alder"]


def test_a_commit_of_an_earlier_run_is_not_one_of_this(federation: MemoryFederation) -> None:
    old: dict[str, bytes] = {}

    def keep(name: str, kind: str, reply: bytes) -> bytes:
        old.setdefault(name, reply)
        return None if kind == "commit" else reply  # type: ignore[return-value]

    def replay(name: str, _kind: str, _reply: bytes) -> bytes:
        return old[name]

    for run, tamper in (("one", keep), ("two", replay)):
        federation.tamper = tamper
        with pytest.raises(FederationError, match="0 commits"):
            federation.execute(federation.plan("toy", run, quorum=1))
    assert federation.entries(CommitEntry) == []
    assert "commit_slot" in federation.store.run("two").detail


# Clocks


def test_no_check_of_the_agent_depends_on_a_clock(federation: MemoryFederation) -> None:
    """The coordinator's clock may be anywhere: entries' times are its word, and only their order counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intertwine.server.rounds.now", lambda: 2**40)
        federation.execute(federation.plan("toy", "one", participants=["alder"], quorum=1))
    (outcome,) = federation.entries(Outcome)
    assert outcome.verdict == "accepted"


# Wrong envelopes


class Barrage:
    """A transport that hands in wrong replies before each right one."""

    def __init__(self, member: Member, count: int) -> None:
        self._member, self._count = member, count
        self.reception = Reception()

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        ((node, request),) = requests.items()
        reply = self._member.participant.handle(request)
        fuzzer = Fuzzer([reply], self._member.key, random.Random(7))  # noqa: S311 - nothing secret
        for wrong in fuzzer.envelopes(self._count):
            self.reception.receive(lambda message: on_reply(node, message), wrong)
        on_reply(node, reply)
        return {}


@pytest.fixture
def quiet() -> Iterator[None]:
    """Without the lines that each refusal logs."""
    package = logging.getLogger("intertwine")
    package.setLevel(logging.CRITICAL)
    yield
    package.setLevel(logging.NOTSET)


def release_request(federation: MemoryFederation, commit: Signed[Commit], nonce: bytes) -> bytes:
    """A request for a release, over a log that holds the commit alone."""
    leaf, store = leaf_hash(CommitEntry(time=7, commit=commit).encode()), federation.store
    request = ReleaseRequest(
        slot=commit.body.slot,
        commit_time=7,
        checkpoint=sign_checkpoint(Checkpoint(store.origin, 1, Tree([leaf]).root(1)), federation.key),
        nonce=nonce.hex(),
        inclusion=InclusionProof(index=0, path=[]),
    )
    return Envelope(Signed[ReleaseRequest].create(request, federation.key).encode()).to_bytes()


@pytest.mark.usefixtures("quiet")
def test_no_wrong_request_crashes_or_delays_the_agent(federation: MemoryFederation) -> None:
    federation.execute(federation.plan("toy", "one", participants=["alder"], quorum=1))
    alder, messages = federation.members["alder"], [request for _, request in federation.requests]
    fuzzer, reception = Fuzzer(messages, federation.key, random.Random(5)), Reception()  # noqa: S311
    for wrong in fuzzer.envelopes(3 * ENVELOPES // 4):
        reception.receive(alder.participant.handle, wrong)
    assert reception.crashes == []
    assert reception.slowest_s < SLOW_S
    assert reception.refused > reception.taken > 0
    assert len(alder.ledger.slots("toy")) == 1


@pytest.mark.usefixtures("quiet")
def test_no_wrong_reply_crashes_or_delays_the_coordinator(federation: MemoryFederation) -> None:
    plan = federation.plan("toy", "one", participants=["alder"], quorum=1)
    launch(federation.store, federation.key, plan, lambda: 1)
    barrage = Barrage(federation.members["alder"], ENVELOPES // 8)
    # A wrong release that alder has signed is its release: then the run fails, in order.
    with contextlib.suppress(FederationError):
        RunDriver(federation.store, federation.key, plan, barrage).execute()
    assert barrage.reception.crashes == []
    assert barrage.reception.slowest_s < SLOW_S
    assert federation.store.run("one").ended
    assert len(federation.entries(CommitEntry)) == len(federation.entries(Outcome)) == 1


@pytest.mark.parametrize(
    "document",
    [b"[" * (1 << 20), b'{"":' * (1 << 18), b'"' * (1 << 20), b"[[]," * (1 << 18), b'"\\' * (1 << 19)],
    ids=["deep", "fields", "quotes", "beside", "escapes"],
)
def test_a_document_of_the_largest_size_is_refused_at_once(document: bytes) -> None:
    reception = Reception()
    reception.receive(decode, document)
    assert (reception.refused, reception.slowest_s < 2 * SLOW_S) == (1, True)


def test_an_envelope_that_is_too_large_is_refused_before_it_is_copied() -> None:
    message = b"ITW1" + (1 << 30).to_bytes(4, "little")
    with pytest.raises(InputError, match="more than the 1048576 allowed"):
        Envelope.from_bytes(message, ())
    with pytest.raises(IntertwineError, match="more than the 10 allowed"):
        Envelope.from_bytes(Envelope(b"{}" * 6).to_bytes(), (), document_limit=10)
