"""Changes of key and revocations while runs are in progress: the real coordinator, the real agent."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from intertwine.client.dataset_enrolment import Send
from intertwine.protocols.enrolment import Invitation
from intertwine.protocols.entries import (
    Act,
    CommitEntry,
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
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.server import cli as coordinator_cli
from intertwine.server.closing import end_run
from intertwine.server.enrolment import invite
from intertwine.server.launch import launch
from tests.federation import MemoryFederation
from tests.toy import STATISTICS, write_points


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
    created, *invited = (entry.act for entry in pair.entries(Act))
    assert created == LogCreated(log_key=pair.store.deployment)
    assert [(act.number, act.participant, act.tasks) for act in invited] == [
        (1, "alder", ["toy"]),
        (2, "birch-co", ["toy"]),
    ]


def test_an_invitation_leaves_no_secret_in_the_log(pair: MemoryFederation) -> None:
    token = invite(pair.home, pair.store, "cedar", "smb", ["risk"], 3600)
    invitation = Invitation.from_token(token)
    log = b"".join(pair.store.entries()).decode()
    assert isinstance(pair.entries(Act)[-1].act, InvitationIssued)
    for secret in (token, invitation.secret, invitation.secret_digest()):
        assert secret not in log


def test_two_invitations_in_one_second_are_two_entries(pair: MemoryFederation) -> None:
    for _ in range(2):
        invite(pair.home, pair.store, "cedar", "smb", ["risk"], 3600)
    assert len(set(pair.store.entries())) == len(pair.store.entries())
    pair.assert_passes()


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
    assert len(pair.entries(Outcome)) == (2 if when == "release" else 0)
    pair.assert_passes()


# Changes of key


def test_a_key_is_changed_while_a_round_is_open(pair: MemoryFederation) -> None:
    """The slot ends with the key it committed with; the next round's commit is signed with the new one."""
    once(pair, "release", lambda: pair.change_key("alder"))
    pair.execute(pair.plan("toy", "two-rounds", rounds=2))
    first, second = (
        entry.commit.key
        for entry in pair.entries(CommitEntry)
        if entry.commit.body.slot.participant == "alder"
    )
    (changed,) = pair.entries(KeyChange)
    assert (first, second) == (changed.change.body.old_key, changed.change.body.new_key)
    assert [entry.accepted for entry in pair.entries(ModelEntry)] == [["alder", "birch-co"]] * 2
    pair.assert_passes()


def test_a_commit_under_a_replaced_key_is_refused(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    once(pair, "commit", lambda: pair.change_key("alder"))
    with pytest.raises(FederationError, match="1 commits, but the quorum is 2"):
        pair.execute(pair.plan("toy", "late", quorum=2))
    assert [entry.commit.body.slot.participant for entry in pair.entries(CommitEntry)] == ["birch-co"]
    assert "check signature failed" in caplog.text
    pair.assert_passes()


def test_a_slot_whose_key_is_gone_is_declined(pair: MemoryFederation) -> None:
    """The agent gave the old key up between commit and release: it says so, and releases nothing."""

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if (name, kind) == ("birch-co", "commit"):
            pair.change_key("alder")
        return reply

    pair.tamper = tamper
    pair.execute(pair.plan("toy", "given-up", quorum=1))
    outcomes = {entry.slot.participant: entry.verdict for entry in pair.entries(Outcome)}
    assert outcomes == {"alder": "aborted", "birch-co": "accepted"}
    assert "replaced since" in pair.store.run("given-up").detail
    pair.assert_passes()


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
    pair.assert_passes()


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
    assert [entry.participants for entry in pair.entries(RoundOpened)] == [
        ["alder", "birch-co"],
        ["birch-co"],
    ]
    assert [entry.accepted for entry in pair.entries(ModelEntry)] == [["alder", "birch-co"], ["birch-co"]]
    assert pair.entries(Revocation)[0].reason == "it left the shop"
    pair.assert_passes()


def test_a_commit_after_the_revocation_is_refused(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    once(pair, "commit", lambda: pair.revoke("alder"))
    with pytest.raises(FederationError, match="1 commits, but the quorum is 2"):
        pair.execute(pair.plan("toy", "gone", quorum=2))
    assert [entry.commit.body.slot.participant for entry in pair.entries(CommitEntry)] == ["birch-co"]
    assert "check membership failed" in caplog.text
    pair.assert_passes()


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
    assert len(pair.entries(Revocation)) == 1
    away.clear()
    answer = CliRunner().invoke(coordinator_cli.app, words, catch_exceptions=False)
    assert "revoked already" in answer.output
    assert expelled == [1000]
    assert len(pair.entries(Revocation)) == 1
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
