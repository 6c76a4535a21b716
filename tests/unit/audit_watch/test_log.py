"""What a watch follows without complaint, and the alerts about what a log has in it."""

import math
from pathlib import Path

import pytest

from intertwine.protocols.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from intertwine.protocols.encoding import encode, sha256
from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Failure,
    InvitationIssued,
    ModelEntry,
    Outcome,
    PlanEntry,
    ReleaseEntry,
)
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.zk.audit import live as live_module
from intertwine.zk.audit import verify_bundle
from intertwine.zk.audit.alert import AlertKind, Fault
from tests.log_server import LogServer
from tests.recording import Recording, fixed_key
from tests.watching import NOW, Start, forked, long_log, only

# Nothing to complain of


def test_a_log_that_grows_entry_by_entry(server: LogServer, honest: Recording, start: Start) -> None:
    """What is merely not there yet is no fault."""
    watch = start()
    for size in range(len(honest.entries) + 1):
        server.show(honest, size)
        assert watch.step() == [], size
    progress = watch.watcher.progress
    assert (progress.size, progress.judged) == (len(honest.entries),) * 2
    assert (progress.rounds, progress.proofs) == (1, 2)


def test_data_bound_runs(server: LogServer, enrolled: Recording, start: Start) -> None:
    """Pages of datasets are verified as well; the one thing wrong is ben's half-noised step."""
    server.show(enrolled)
    watch = start()
    alert = only(watch.step(), AlertKind.REJECTED_PROOF, enrolled.position(ReleaseEntry, 1), "'ben'")
    assert alert.fault is Fault.PARTICIPANT
    assert watch.watcher.progress.proofs == 3 + 3


def test_restart_remembers(server: LogServer, honest: Recording, start: Start) -> None:
    """Neither entries nor blobs are fetched again, no proof is verified again, and all is judged again."""
    server.show(honest)
    assert start().step() == []
    server.requests.clear()
    server.blobs = {}
    watch = start()
    assert watch.step() == []
    assert watch.watcher.progress.proofs == 2
    assert server.requests == ["/v1/log/checkpoint"]


def test_entries_are_fetched_in_batches(server: LogServer, honest: Recording, start: Start) -> None:
    """Batches that are full are asked for as such: they can be cached for ever."""
    long_log(honest, 600)
    server.show(honest, 300)
    watch = start()
    assert watch.step() == []
    server.show(honest)
    assert watch.step() == []
    asked = [path.removeprefix("/v1/log/") for path in server.requests if "entries" in path]
    assert asked == ["entries/0", "entries/1/44", "entries/1", "entries/2/88"]


# fork


@pytest.mark.parametrize("growth", [0, 5])
@pytest.mark.parametrize("restarted", [False, True])
def test_fork(server: LogServer, honest: Recording, start: Start, growth: int, restarted: bool) -> None:
    """Two signed notes prove it: of the same size, or of two sizes that share no history."""
    size = len(honest.entries) - 5
    server.show(honest, size)
    watch = start()
    assert watch.step() == []
    server.show(forked(honest, 7), size + growth)
    watch = start() if restarted else watch
    alert = only(watch.step(), AlertKind.FORK, None if growth == 0 else 7, f"the first {size} entries")
    assert alert.fault is Fault.COORDINATOR
    one, two = (open_checkpoint(note, honest.origin, honest.log_key.public) for note in alert.evidence)
    assert (one.size, two.size) == (size, size + growth)
    assert Tree(map(leaf_hash, server.entries)).root(size) != one.root
    assert watch.step() == []  # it was said


def test_entries_that_are_not_under_the_checkpoint(
    server: LogServer, honest: Recording, start: Start
) -> None:
    server.show(honest)
    server.entries[3], server.entries[4] = server.entries[4], server.entries[3]
    watch = start()
    assert only(watch.step(), AlertKind.LOG_RULE, None).check == "log_root"
    server.show(honest)
    assert watch.watcher.progress.judged == 0


# rollback


@pytest.mark.parametrize("restarted", [False, True])
def test_rollback(server: LogServer, honest: Recording, start: Start, restarted: bool) -> None:
    server.show(honest)
    watch = start()
    assert watch.step() == []
    server.show(honest, 10)
    watch = start() if restarted else watch
    alert = only(watch.step(), AlertKind.ROLLBACK, None, f"fewer than the {len(honest.entries)} entries")
    assert alert.evidence == (honest.checkpoint(len(honest.entries)), honest.checkpoint(10))
    server.show(honest, 11)
    assert watch.step() == []  # it is the same that is wrong
    assert watch.watcher.progress.size == len(honest.entries)


# log_rule


def test_commit_after_beacon(server: LogServer, honest: Recording, start: Start) -> None:
    beacon = honest.position(BeaconEntry)
    late = honest.entries.pop(beacon - 1)
    honest.entries.insert(beacon, late)
    honest.redraw_beacon(beacon - 1)
    server.show(honest, beacon + 1)
    alert = only(start().step(), AlertKind.LOG_RULE, beacon, "comes after the beacon")
    assert (alert.check, alert.fault) == ("commit", Fault.COORDINATOR)


def test_every_breach_is_told_not_only_the_first(server: LogServer, honest: Recording, start: Start) -> None:
    first = honest.position(PlanEntry)
    honest.entries[first + 1 :] = [honest.entries[first].model_copy(update={"time": time}) for time in (1, 2)]
    server.show(honest)
    alerts = start().step()
    assert [(alert.check, alert.entry) for alert in alerts] == [("plan", first + 1), ("plan", first + 2)]


def test_second_outcome(server: LogServer, honest: Recording, start: Start) -> None:
    position = honest.position(Outcome)
    honest.entries.insert(position + 1, honest.entries[position])
    honest.edit(position + 1, verify_ms=1)
    server.show(honest, position + 2)
    assert only(start().step(), AlertKind.LOG_RULE, position + 1, "already ended").check == "outcome"


def test_update_that_the_server_lacks(server: LogServer, honest: Recording, start: Start) -> None:
    position = honest.position(ReleaseEntry)
    del honest.blobs[honest.entries[position].release.body.update]
    server.show(honest)
    watch = start()
    assert only(watch.step(), AlertKind.LOG_RULE, position, "lacks blob").check == "blob_digest"
    assert watch.watcher.progress.proofs == 1


@pytest.mark.parametrize("blob", [b"other bytes", bytes(2 << 20)])
def test_proof_that_the_server_alters(
    server: LogServer, honest: Recording, start: Start, blob: bytes
) -> None:
    position = honest.position(ReleaseEntry)
    honest.blobs[honest.entries[position].release.body.proof] = blob
    server.show(honest)
    assert only(start().step(), AlertKind.LOG_RULE, position).check == "blob_digest"


def test_dataset_without_its_commitments(server: LogServer, enrolled: Recording, start: Start) -> None:
    position = enrolled.position(DatasetEntry)
    del enrolled.blobs[enrolled.entries[position].dataset.body.pages[0].commitments]
    server.show(enrolled, position + 1)
    assert only(start().step(), AlertKind.LOG_RULE, position, "does not have blob").check == "dataset"


@pytest.mark.parametrize("kind", ["unknown type", "not canonical", "twice"])
def test_entry_encoding(server: LogServer, honest: Recording, start: Start, kind: str) -> None:
    """Signed by the log, but not what an entry may be."""
    data = {
        "unknown type": encode({"time": 1, "type": "surprise"}),
        "not canonical": honest.entries[1].encode().replace(b":", b": ", 1),
        "twice": honest.entries[1].encode(),
    }[kind]
    server.entries = [entry.encode() for entry in honest.entries[:3]] + [data]
    root = Tree(map(leaf_hash, server.entries)).root(4)
    server.note = sign_checkpoint(Checkpoint(honest.origin, 4, root), honest.log_key)
    assert only(start().step(), AlertKind.LOG_RULE, 3).check == "entry_encoding"


def test_unknown_log_key(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    server.note = honest.checkpoint(len(honest.entries), fixed_key("mallory"))
    assert only(start().step(), AlertKind.LOG_RULE, None).check == "checkpoint_signature"


# missing_release


def test_release_hidden(server: LogServer, honest: Recording, start: Start) -> None:
    """The round ends as if ben had never released; nothing says what became of his slot."""
    position = honest.position(ReleaseEntry, -1)
    del honest.entries[position : position + 2]
    honest.edit(honest.position(ModelEntry), accepted=["ana"])
    server.show(honest, position + 1)
    only(start().step(), AlertKind.MISSING_RELEASE, honest.position(CommitEntry, 1), "'ben'")


def test_round_given_up_without_outcomes(server: LogServer, honest: Recording, start: Start) -> None:
    beacon = honest.position(BeaconEntry)
    identity = honest.entries[beacon].round
    honest.entries[beacon + 1 :] = [Failure(time=NOW, round=identity, reason="stopped")]
    server.show(honest)
    alerts = start().step()
    commits = [honest.position(CommitEntry), honest.position(CommitEntry, 1)]
    assert [(alert.kind, alert.entry) for alert in alerts] == [
        (AlertKind.MISSING_RELEASE, at) for at in commits
    ]


@pytest.mark.parametrize(("late_s", "expected"), [(0, 0), (1, 1)])
def test_deadline_passes_by_the_logs_own_times(
    server: LogServer, honest: Recording, start: Start, late_s: int, expected: int
) -> None:
    """The log goes on with other things, and the round's slots stay as they are."""
    beacon = honest.position(BeaconEntry)
    honest.entries[beacon + 1 + 2 :] = []  # ana has released
    due = honest.entries[beacon].time + honest.entries[honest.position(PlanEntry)].plan.body.deadline_s
    terms = {"number": 4, "expires": NOW, "participant": "dee", "role": "smb", "tasks": ["risk"]}
    time = due + live_module.GRACE_S + late_s
    honest.entries.append(Act(time=time, act=InvitationIssued(**terms)))
    server.show(honest)
    watch = start()
    alerts = watch.step()
    assert [alert.kind for alert in alerts] == [AlertKind.MISSING_RELEASE] * expected, alerts
    assert all(alert.entry == honest.position(CommitEntry, 1) for alert in alerts)
    assert watch.step() == []


def test_aborted_slot(server: LogServer, recording: Recording, start: Start) -> None:
    server.show(recording, recording.position(ModelEntry) + 1)
    alerts = start().step()
    aborted = [alert for alert in alerts if alert.kind is AlertKind.MISSING_RELEASE]
    assert (
        only(aborted, AlertKind.MISSING_RELEASE, recording.position(Outcome, 2), "'cyd'").fault
        is Fault.UNKNOWN
    )


def test_release_without_outcome(server: LogServer, honest: Recording, start: Start) -> None:
    position = honest.position(Outcome, -1)
    del honest.entries[position]
    honest.edit(honest.position(ModelEntry), accepted=["ana"])
    server.show(honest, position + 1)
    alert = only(start().step(), AlertKind.LOG_RULE, position - 1, "no outcome")
    assert alert.check == "outcome"


# rejected_proof


def test_rejected_proof(server: LogServer, recording: Recording, start: Start) -> None:
    """ben's half-noised release: we reproduce the rejection, so the fault is ben's, and only his."""
    position = recording.position(ReleaseEntry, 1)
    server.show(recording, position)
    watch = start()
    assert watch.step() == []
    server.show(recording, position + 2)
    alert = only(watch.step(), AlertKind.REJECTED_PROOF, position, "fails check constraint_identity")
    assert (alert.fault, alert.check) == (Fault.PARTICIPANT, "constraint_identity")


def test_invalid_proof_accepted(server: LogServer, recording: Recording, start: Start) -> None:
    position = recording.position(Outcome, 1)
    recording.edit(position, verdict="accepted", check="")
    server.show(recording, position + 1)
    alert = only(start().step(), AlertKind.REJECTED_PROOF, position - 1, "accepted, but fails check")
    assert alert.fault is Fault.COORDINATOR


def test_valid_proof_rejected(server: LogServer, honest: Recording, start: Start) -> None:
    position = honest.position(Outcome)
    honest.edit(position, verdict="rejected", check="constraint_identity")
    server.show(honest, position + 1)
    alert = only(start().step(), AlertKind.REJECTED_PROOF, position - 1, "but is valid")
    assert alert.fault is Fault.COORDINATOR


def test_dataset_with_an_invalid_proof(server: LogServer, enrolled: Recording, start: Start) -> None:
    position = enrolled.position(DatasetEntry)
    body = enrolled.entries[position].dataset.body
    proof = bytearray(enrolled.blobs[body.pages[0].proof])
    proof[-1] ^= 1
    page = body.pages[0].model_copy(update={"proof": enrolled.keep(bytes(proof))})
    enrolled.edit(position, pages=[page])
    server.show(enrolled, position + 1)
    alert = only(start().step(), AlertKind.REJECTED_PROOF, position, "'ana'")
    assert alert.fault is Fault.COORDINATOR


# budget


@pytest.mark.parametrize("kind", ["honest", "enrolled"])
def test_budget_is_the_audits(
    server: LogServer, start: Start, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """A limit just below a figure of the audit is exceeded; at the figure itself it is not."""
    recording: Recording = request.getfixturevalue(kind)
    server.show(recording)
    rows = verify_bundle(recording.write(tmp_path)).privacy
    largest = max(row.guarantee.epsilon for row in rows if math.isfinite(row.guarantee.epsilon))
    name = next(row.participant for row in rows if row.guarantee.epsilon == largest)
    for limit, alerted in ((largest, False), (largest * (1 - 1e-9), True)):
        alerts = [alert for alert in start(max_epsilon=limit).step() if alert.kind is AlertKind.BUDGET]
        assert any(f"{name!r}" in alert.problem for alert in alerts) is alerted, alerts


def test_epsilon_overspent(server: LogServer, honest: Recording, start: Start) -> None:
    """Once for every figure, at the release that takes it beyond the limit, and never again."""
    server.show(honest)
    watch = start(max_epsilon=0.5)
    alerts = watch.step()
    assert {alert.kind for alert in alerts} == {AlertKind.BUDGET}
    ana = [alert for alert in alerts if "'ana'" in alert.problem]
    assert all(alert.entry == honest.position(ReleaseEntry) for alert in ana)
    assert len({alert.problem for alert in ana}) == len(ana) >= 1
    assert watch.step() == []


def test_figures_that_grow_are_told_once(server: LogServer, recording: Recording, start: Start) -> None:
    """ana releases in both rounds, and is beyond the limit after the first."""
    server.show(recording)
    alerts = [alert for alert in start(max_epsilon=0.01).step() if "'ana'" in alert.problem]
    figures = [alert.problem.partition(" is ")[0] for alert in alerts]
    assert len(figures) == len(set(figures)) > 0


def test_release_against_the_rules_is_infinite(server: LogServer, honest: Recording, start: Start) -> None:
    """A second release of a slot cannot have an outcome; it may have revealed anything all the same."""
    position = honest.position(Outcome) + 1
    honest.entries.insert(position, honest.entries[position - 2])
    honest.edit(position, update=sha256(b"another try"))
    server.show(honest, position + 1)
    alerts = start(max_epsilon=100.0).step()
    assert alerts[0].kind is AlertKind.LOG_RULE
    assert {alert.kind for alert in alerts[1:]} == {AlertKind.BUDGET}
    assert all("'ana'" in alert.problem and "infinite" in alert.problem for alert in alerts[1:])
    assert alerts[1].entry == position


def test_invalid_release_is_infinite(server: LogServer, recording: Recording, start: Start) -> None:
    server.show(recording)
    alerts = start(max_epsilon=100.0).step()
    spent = [alert for alert in alerts if alert.kind is AlertKind.BUDGET]
    assert spent
    assert all("'ben'" in alert.problem and "infinite" in alert.problem for alert in spent)
