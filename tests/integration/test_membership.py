"""Changes of key and revocations while runs are in progress: the real coordinator, the real agent."""

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from intertwine.client import cli as agent_cli
from intertwine.client.dataset_enrolment import Send
from intertwine.client.enrol import enrol
from intertwine.client.home import Home as AgentHome
from intertwine.client.keys import Ask, ask_coordinator, key_in_use, rotate_key
from intertwine.client.ledger import Ledger
from intertwine.client.participant import honest_release
from intertwine.protocols.enrolment import Invitation
from intertwine.protocols.entries import (
    Act,
    CommitEntry,
    Enrolment,
    Entry,
    Failure,
    InvitationIssued,
    KeyChange,
    LogCreated,
    ModelEntry,
    Outcome,
    Revocation,
    RoundOpened,
    RunStopped,
    decode_entry,
)
from intertwine.protocols.errors import FederationError, InputError, IntertwineError, VerificationError
from intertwine.protocols.files import read_bounded
from intertwine.protocols.keys import KeyStatus, NewKey, sign_new_key
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import Signed
from intertwine.protocols.signing import SigningKey
from intertwine.server import cli as coordinator_cli
from intertwine.server.closing import end_run
from intertwine.server.enrolment import invite
from intertwine.server.launch import launch
from intertwine.server.membership import change_key, key_status
from intertwine.zk.audit import verify_bundle
from tests.federation import Member, MemoryFederation
from tests.serving import served
from tests.toy import STATISTICS, write_points


@pytest.fixture
def pair(tmp_path: Path, toy: str) -> MemoryFederation:
    """Two honest participants."""
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "birch-co")):
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 30, seed)})
    return federation


def entries(federation: MemoryFederation, kind: type[Entry]) -> list[Any]:
    decoded = [decode_entry(data) for data in federation.store.entries()]
    return [entry for entry in decoded if isinstance(entry, kind)]


def assert_passes(federation: MemoryFederation) -> None:
    verdict = verify_bundle(federation.bundle(), Policy.of_key(federation.store.deployment))
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]


def once(federation: MemoryFederation, when: str, act: Callable[[], object]) -> None:
    """Do `act` after alder has made its first reply of this kind, and before that arrives."""
    waiting = [act]

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if (name, kind) == ("alder", when) and waiting:
            waiting.pop()()
        return reply

    federation.tamper = tamper


# Acts of the coordinator


def test_the_log_begins_with_its_creation_and_holds_the_invitations(pair: MemoryFederation) -> None:
    created, *invited = (entry.act for entry in entries(pair, Act))
    assert created == LogCreated(log_key=pair.store.deployment)
    assert [(act.number, act.participant, act.tasks) for act in invited] == [
        (1, "alder", ["toy"]),
        (2, "birch-co", ["toy"]),
    ]


def test_an_invitation_leaves_no_secret_in_the_log(pair: MemoryFederation) -> None:
    token = invite(pair.home, pair.store, "cedar", "smb", ["risk"], 3600)
    invitation = Invitation.from_token(token)
    log = b"".join(pair.store.entries()).decode()
    assert isinstance(entries(pair, Act)[-1].act, InvitationIssued)
    for secret in (token, invitation.secret, invitation.secret_digest()):
        assert secret not in log


def test_two_invitations_in_one_second_are_two_entries(pair: MemoryFederation) -> None:
    for _ in range(2):
        invite(pair.home, pair.store, "cedar", "smb", ["risk"], 3600)
    assert len(set(pair.store.entries())) == len(pair.store.entries())
    assert_passes(pair)


def test_an_invitation_that_is_refused_is_not_logged(pair: MemoryFederation) -> None:
    before = pair.store.entries()
    with pytest.raises(InputError, match="enrolled already"):
        invite(pair.home, pair.store, "alder", "smb", ["risk"], 3600)
    with pytest.raises(InputError, match="expires"):
        invite(pair.home, pair.store, "cedar", "smb", ["risk"], 2**45)
    assert pair.store.entries() == before


@pytest.mark.parametrize("when", ["commit", "release"])
def test_a_stopped_run_is_an_act_and_does_not_go_on(pair: MemoryFederation, when: str) -> None:
    """Its driver is still at work, but whatever it has done by then comes too late for the log."""
    plan = pair.plan("toy", "halted")
    once(pair, when, lambda: end_run(pair.store, plan, "stopped", "stopped by the coordinator"))
    with pytest.raises(FederationError, match="has stopped: stopped by the coordinator"):
        pair.execute(plan)
    last, failure = [decode_entry(data) for data in pair.store.entries()][-2:]
    assert isinstance(last, Act)
    assert last.act == RunStopped(run="halted")
    assert isinstance(failure, Failure)
    run = pair.store.run("halted")
    assert (run.state, run.detail) == ("stopped", "stopped by the coordinator")
    assert len(entries(pair, Outcome)) == (2 if when == "release" else 0)
    assert_passes(pair)


# Changes of key


def test_a_key_is_changed_while_a_round_is_open(pair: MemoryFederation) -> None:
    """The slot ends with the key it committed with; the next round's commit is signed with the new one."""
    once(pair, "release", lambda: pair.change_key("alder"))
    pair.execute(pair.plan("toy", "two-rounds", rounds=2))
    first, second = (
        entry.commit.key
        for entry in entries(pair, CommitEntry)
        if entry.commit.body.slot.participant == "alder"
    )
    (changed,) = entries(pair, KeyChange)
    assert (first, second) == (changed.change.body.old_key, changed.change.body.new_key)
    assert [entry.accepted for entry in entries(pair, ModelEntry)] == [["alder", "birch-co"]] * 2
    assert_passes(pair)


def test_a_commit_under_a_replaced_key_is_refused(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    once(pair, "commit", lambda: pair.change_key("alder"))
    with pytest.raises(FederationError, match="1 commits, but the quorum is 2"):
        pair.execute(pair.plan("toy", "late", quorum=2))
    assert [entry.commit.body.slot.participant for entry in entries(pair, CommitEntry)] == ["birch-co"]
    assert "check signature failed" in caplog.text
    assert_passes(pair)


def test_a_slot_whose_key_is_gone_is_declined(pair: MemoryFederation) -> None:
    """The agent gave the old key up between commit and release: it says so, and releases nothing."""

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if (name, kind) == ("birch-co", "commit"):
            pair.change_key("alder")
        return reply

    pair.tamper = tamper
    pair.execute(pair.plan("toy", "given-up", quorum=1))
    outcomes = {entry.slot.participant: entry.verdict for entry in entries(pair, Outcome)}
    assert outcomes == {"alder": "aborted", "birch-co": "accepted"}
    assert "replaced since" in pair.store.run("given-up").detail
    assert_passes(pair)


def test_enrolled_records_outlive_the_key_that_signed_them(pair: MemoryFederation) -> None:
    """Records enrolled under the old key are summed under the new one, and others are added to them."""
    for name in pair.members:
        pair.enrol_records(name, "toy")
    pair.change_key("alder")
    pair.execute(pair.plan("toy", "sums", quorum=2, **STATISTICS))
    alder = pair.members["alder"]
    more = write_points(pair.root / "more.csv", 40, 0)
    alder.tasks["toy"] = replace(alder.tasks["toy"], records=_appended(pair, more))
    assert pair.enrol_records("alder", "toy") == 10
    assert_passes(pair)


def _appended(federation: MemoryFederation, path: Path) -> Any:
    """alder's records, and ten more."""
    joined = federation.members["alder"].tasks["toy"]
    lines = (federation.root / "alder.csv").read_text() + "".join(
        path.read_text().splitlines(keepends=True)[30:]
    )
    path.write_text(lines)
    return joined.task.load(path)


def test_records_signed_with_a_replaced_key_are_refused(pair: MemoryFederation) -> None:
    sender = pair.sender("alder")

    def late(envelope: bytes) -> None:
        pair.change_key("alder")
        sender(envelope)

    send: Send = late
    with pytest.raises(InputError, match="signature"):
        pair.enrol_records("alder", "toy", send)


# Revocation


def test_a_run_goes_on_without_a_revoked_participant(pair: MemoryFederation) -> None:
    """Revoked between commit and release: that slot ends as it would, and there is no further one."""
    once(pair, "release", lambda: pair.revoke("alder"))
    pair.execute(pair.plan("toy", "smaller", rounds=2, quorum=1))
    assert [entry.participants for entry in entries(pair, RoundOpened)] == [
        ["alder", "birch-co"],
        ["birch-co"],
    ]
    assert [entry.accepted for entry in entries(pair, ModelEntry)] == [["alder", "birch-co"], ["birch-co"]]
    assert entries(pair, Revocation)[0].reason == "it left the shop"
    assert_passes(pair)


def test_a_commit_after_the_revocation_is_refused(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    once(pair, "commit", lambda: pair.revoke("alder"))
    with pytest.raises(FederationError, match="1 commits, but the quorum is 2"):
        pair.execute(pair.plan("toy", "gone", quorum=2))
    assert [entry.commit.body.slot.participant for entry in entries(pair, CommitEntry)] == ["birch-co"]
    assert "check membership failed" in caplog.text
    assert_passes(pair)


def test_a_revoked_participant_is_not_planned_for_and_enrols_nothing(pair: MemoryFederation) -> None:
    plan = pair.plan("toy", "before")
    pair.revoke("alder")
    assert pair.plan("toy", "after", quorum=1).participants == ["birch-co"]
    before = pair.store.entries()
    with pytest.raises(InputError, match="'alder' is not enrolled"):
        pair.plan("toy", "with-alder", participants=["alder", "birch-co"])
    with pytest.raises(InputError, match="'alder' is revoked"):
        launch(pair.store, pair.key, plan, lambda: 1)
    with pytest.raises(InputError, match="membership"):
        pair.enrol_records("alder", "toy")
    with pytest.raises(VerificationError, match="membership"):
        pair.change_key("alder")
    with pytest.raises(InputError, match="enrolled already"):
        invite(pair.home, pair.store, "alder", "smb", ["risk"], 3600)
    assert pair.store.entries() == before


def test_revoke_on_the_command_line(pair: MemoryFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The membership ends even if the SuperLink is away; the second try expels the node."""
    expelled: list[int] = []
    away = [True]

    class Control:
        def unregister(self, node: int) -> None:
            if away:
                raise FederationError("The SuperLink does not answer.", "Start it.")
            expelled.append(node)

    monkeypatch.setattr(coordinator_cli, "control_client", lambda _home: Control())
    words = ["revoke", "alder", "--reason", "it left", "--home", str(pair.home.path)]
    with pytest.raises(FederationError):
        CliRunner().invoke(coordinator_cli.app, words, catch_exceptions=False)
    assert len(entries(pair, Revocation)) == 1
    away.clear()
    answer = CliRunner().invoke(coordinator_cli.app, words, catch_exceptions=False)
    assert "revoked already" in answer.output
    assert expelled == [1000]
    assert len(entries(pair, Revocation)) == 1
    shown = CliRunner().invoke(coordinator_cli.app, ["status", "--home", str(pair.home.path)])
    assert shown.output.count("revoked") == 1


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [("nobody", "it left", "not enrolled"), ("alder", "", "reason"), ("alder", "x" * 501, "reason")],
)
def test_a_revocation_that_cannot_be(pair: MemoryFederation, name: str, reason: str, words: str) -> None:
    before = pair.store.entries()
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(
            coordinator_cli.app,
            ["revoke", name, "--reason", reason, "--home", str(pair.home.path)],
            catch_exceptions=False,
        )
    assert pair.store.entries() == before


# The agent, and the real control plane


@pytest.fixture
def served_client(pair: MemoryFederation) -> Any:
    with served(pair.home, pair.store, lambda _key: 77) as client:
        yield client


@pytest.fixture
def agent(pair: MemoryFederation, served_client: httpx.Client) -> AgentHome:
    """An agent that enrolled through the real path."""
    home = AgentHome(pair.root / "agent")
    token = invite(pair.home, pair.store, "cedar", "security", ["toy"], 60)
    enrol(home, str(served_client.base_url), token, {"toy": pair.root / "alder.csv"})
    return home


def in_force(federation: MemoryFederation) -> str:
    return key_status(federation.store, "cedar").signing_key


def test_the_agent_replaces_its_key(pair: MemoryFederation, agent: AgentHome) -> None:
    old = agent.signing_key.public
    shown = CliRunner().invoke(
        agent_cli.app, ["rotate-key", "--home", str(agent.path)], catch_exceptions=False
    )
    new = agent.signing_key.public
    assert new in shown.output.replace("\n", "")
    assert new != old
    assert in_force(pair) == new
    assert not agent.next_signing_key_file.exists()
    assert agent.signing_key_file.stat().st_mode & 0o777 == 0o600
    assert rotate_key(agent, ask_coordinator(agent)).public == in_force(pair)
    assert key_status(pair.store, "cedar").changes == 2
    assert entries(pair, KeyChange)[0].change.body.old_key == entries(pair, Enrolment)[-1].signing_key
    assert_passes(pair)


class Crash(BaseException):
    """The agent's process ends here."""


def crash_before_the_request(_ask: Ask) -> Ask:
    def ask(change: Signed[NewKey] | None) -> KeyStatus:
        raise Crash

    return ask


def crash_between_the_requests(ask: Ask) -> Ask:
    def broken(change: Signed[NewKey] | None) -> KeyStatus:
        if change is not None:
            raise Crash
        return ask(None)

    return broken


def crash_before_the_answer(ask: Ask) -> Ask:
    def broken(change: Signed[NewKey] | None) -> KeyStatus:
        status = ask(change)
        if change is not None:
            raise Crash
        return status

    return broken


@pytest.mark.parametrize(
    "crash", [crash_before_the_request, crash_between_the_requests, crash_before_the_answer]
)
@pytest.mark.parametrize("way", ["rotate-key", "next use"])
def test_a_change_that_was_interrupted_is_finished(
    pair: MemoryFederation, agent: AgentHome, crash: Callable[[Ask], Ask], way: str
) -> None:
    ask, old = ask_coordinator(agent), agent.signing_key.public
    with pytest.raises(Crash):
        rotate_key(agent, crash(ask))
    announced = SigningKey.read(agent.next_signing_key_file).public
    assert agent.next_signing_key_file.stat().st_mode & 0o777 == 0o600
    assert agent.signing_key.public == old
    assert in_force(pair) == (announced if crash is crash_before_the_answer else old)

    if way == "rotate-key":
        rotate_key(agent, ask)
    else:
        with key_in_use(agent, ask) as identity:
            assert identity.key.public == announced
    assert agent.signing_key.public == in_force(pair) == announced
    assert not agent.next_signing_key_file.exists()
    assert len(entries(pair, KeyChange)) == 1


def test_a_crash_before_the_key_is_put_in_place(
    pair: MemoryFederation, agent: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def crash(source: Path, target: Path) -> Path:
        if source == agent.next_signing_key_file:
            raise Crash
        return rename(source, target)

    ask = ask_coordinator(agent)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Path, "replace", crash)
        rotate_key(agent, ask)
    assert agent.next_signing_key_file.exists()
    assert agent.signing_key.public != in_force(pair)
    assert rotate_key(agent, ask).public == in_force(pair)
    assert len(entries(pair, KeyChange)) == 1


def test_an_unreachable_coordinator_leaves_the_key_in_force(pair: MemoryFederation, agent: AgentHome) -> None:
    def away(_change: Signed[NewKey] | None) -> KeyStatus:
        raise FederationError("The coordinator cannot be reached.", "Check its address.")

    old = agent.signing_key.public
    with pytest.raises(FederationError):
        rotate_key(agent, away)
    with pytest.raises(FederationError), key_in_use(agent, away):
        pass
    assert agent.signing_key.public == old == in_force(pair)


def test_a_home_restored_from_an_old_copy(pair: MemoryFederation, agent: AgentHome) -> None:
    kept, ask = agent.signing_key_file.read_bytes(), ask_coordinator(agent)
    rotate_key(agent, ask)
    agent.signing_key_file.write_bytes(kept)
    with pytest.raises(FederationError, match="neither our old nor our new"):
        rotate_key(agent, ask)
    assert len(entries(pair, KeyChange)) == 1


def take_part(federation: MemoryFederation, home: AgentHome) -> None:
    """Make the agent a participant of the federation in memory, with its own ledger and key."""
    tasks = federation.members["alder"].tasks
    federation.members["cedar"] = Member(home.identity, tasks, honest_release, Ledger(home.ledger), 77)


def test_the_key_stays_while_a_slot_waits_for_its_release(
    pair: MemoryFederation, agent: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intertwine.client.keys._WAIT_S", 0.2)
    take_part(pair, agent)
    pair.tamper = lambda _name, _kind, _reply: None
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(pair.plan("toy", "silent", participants=["cedar"]))
    ask, old = ask_coordinator(agent), agent.signing_key.public
    with pytest.raises(InputError, match="Round 1 of run 'silent' waits"):
        rotate_key(agent, ask)
    assert not agent.next_signing_key_file.exists()
    assert in_force(pair) == old
    assert rotate_key(agent, ask, abandon_slots=True).public == in_force(pair) != old
    assert rotate_key(agent, ask).public == in_force(pair)  # the slot was the first key's


def test_a_slot_is_waited_for(pair: MemoryFederation, agent: AgentHome) -> None:
    """The agent that runs beside the command releases a moment later."""
    take_part(pair, agent)
    pair.tamper = lambda _name, _kind, _reply: None
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(pair.plan("toy", "slow", participants=["cedar"]))
    ledger, old = pair.members["cedar"].ledger, agent.signing_key.public
    (slot,) = ledger.unreleased()
    releasing = threading.Timer(0.3, ledger.release, (slot.slot, "ab" * 32, b"the release", 0.1))
    releasing.start()
    assert rotate_key(agent, ask_coordinator(agent)).public == in_force(pair) != old
    releasing.join()
    assert not ledger.unreleased()


def test_the_key_stays_while_records_are_half_enrolled(pair: MemoryFederation, agent: AgentHome) -> None:
    def away(_envelope: bytes) -> None:
        raise FederationError("The coordinator is away.")

    take_part(pair, agent)
    with pytest.raises(FederationError):
        pair.enrol_records("cedar", "toy", away)
    with pytest.raises(InputError, match="half enrolled"):
        rotate_key(agent, ask_coordinator(agent))
    assert not agent.next_signing_key_file.exists()


def test_a_key_in_use_is_not_replaced(agent: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intertwine.client.keys._WAIT_S", 0.2)
    ask = ask_coordinator(agent)
    with key_in_use(agent, ask), key_in_use(agent, ask), pytest.raises(InputError, match="in use"):
        rotate_key(agent, ask)


def bearer(agent: AgentHome) -> dict[str, str]:
    return {"authorization": f"Bearer {read_bounded(agent.access_token, 64).decode()}"}


def test_the_latest_change_is_accepted_again_and_an_older_one_is_not(
    pair: MemoryFederation, agent: AgentHome, served_client: httpx.Client
) -> None:
    keys = [agent.signing_key, SigningKey.generate(), SigningKey.generate()]
    changes = [
        sign_new_key(pair.store.deployment, "cedar", number, old, new).encode()
        for number, (old, new) in enumerate(pairwise(keys), 1)
    ]

    def post(change: bytes) -> httpx.Response:
        return served_client.post("/v1/keys", content=change, headers=bearer(agent))

    for change in (changes[0], changes[0], changes[1], changes[1]):
        assert post(change).status_code == 201
    replayed = post(changes[0])
    assert replayed.status_code == 400
    assert set(replayed.json()) == {"error", "remedy"}
    assert len(entries(pair, KeyChange)) == 2
    assert KeyStatus.decode(served_client.get("/v1/keys", headers=bearer(agent)).content) == KeyStatus(
        participant="cedar", signing_key=keys[-1].public, changes=2
    )


def test_what_is_no_change_of_the_senders_key(pair: MemoryFederation, agent: AgentHome) -> None:
    key, new = agent.signing_key, SigningKey.generate()
    deployment, before = pair.store.deployment, pair.store.entries()
    refused = {
        "signature": sign_new_key(deployment, "cedar", 1, SigningKey.generate(), new),
        "key_change": sign_new_key(deployment, "alder", 1, key, new),
        "does not follow": sign_new_key(deployment, "cedar", 2, key, new),
        "another deployment": sign_new_key("ab" * 32, "cedar", 1, key, new),
        "was registered": sign_new_key(deployment, "cedar", 1, key, pair.members["alder"].key),
    }
    for words, change in refused.items():
        with pytest.raises(IntertwineError, match=words):
            change_key(pair.store, "cedar", change)
    assert pair.store.entries() == before
    assert in_force(pair) == key.public


def test_a_key_that_was_given_up_is_never_registered_again(pair: MemoryFederation, agent: AgentHome) -> None:
    given_up = pair.change_key("alder")
    change = sign_new_key(pair.store.deployment, "cedar", 1, agent.signing_key, given_up)
    with pytest.raises(InputError, match="was registered"):
        change_key(pair.store, "cedar", change)


def test_a_revoked_participants_token_is_void(
    pair: MemoryFederation, agent: AgentHome, served_client: httpx.Client
) -> None:
    assert served_client.get("/v1/keys", headers=bearer(agent)).status_code == 200
    pair.revoke("cedar")
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/models/toy")):
        assert served_client.request(method, path, content=b"{}", headers=bearer(agent)).status_code == 401
    with pytest.raises(InputError, match="revoked"):
        rotate_key(agent, ask_coordinator(agent))
    assert agent.signing_key.public == in_force(pair)
