"""`audit watch`: what it follows without complaint, and what each alert is raised for."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intertwine.protocols.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from intertwine.protocols.cosignature import cosign
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
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.policy import Policy, Witness
from intertwine.protocols.witnessing import checkpoint_path
from intertwine.zk.audit import live as live_module
from intertwine.zk.audit import verify_bundle
from intertwine.zk.audit.alert import Alert, AlertKind, Fault, Outbox
from intertwine.zk.audit.http_client import HttpClient, Patience, UnreachableError
from intertwine.zk.audit.live import LiveAudit
from intertwine.zk.audit.log_client import LogClient
from intertwine.zk.audit.watch import Watcher
from intertwine.zk.audit.watch_state import WatchState
from tests.log_server import LogServer, serving
from tests.recording import Federation, Recording, fixed_key

HASTE = Patience(read_s=2.0, answer_s=2.0, pauses_s=(0.0,))
NOW = 1_800_000_000


class HonestFederation(Federation):
    """One round in which nothing goes wrong; cyd takes no part."""

    def play(self) -> Recording:
        self._enrol()
        script = ({"ana": "honest", "ben": "honest", "cyd": "absent"},)
        mechanism = ReleaseMechanism(update_bound=10)
        self._run(script, run="spring", mechanism=mechanism, record_bound=4, sigma=50)
        return self.record


@pytest.fixture(scope="module")
def _honest() -> Recording:
    return HonestFederation().play()


@pytest.fixture
def honest(_honest: Recording) -> Recording:
    return _honest.copy()


class Watch:
    """One life of a watch; its folder outlives it."""

    def __init__(
        self,
        server: LogServer,
        folder: Path,
        policy: Policy,
        max_epsilon: float = math.inf,
        grace_s: float = 60,
    ) -> None:
        self.now = NOW
        self.state = WatchState(folder, policy.origin)
        client = LogClient(HttpClient(server.url, patience=HASTE))
        self.live = LiveAudit(policy, client, lambda: self.state.tree, self.state.verified, max_epsilon)
        witnesses = {each.nickname: HttpClient(each.url, patience=HASTE) for each in policy.witnesses}
        self.watcher = Watcher(
            policy,
            client,
            self.state,
            self.live,
            witnesses=witnesses,
            grace_s=grace_s,
            clock=lambda: self.now,
        )

    def step(self) -> list[Alert]:
        return list(self.watcher.step())


Start = Callable[..., Watch]


@pytest.fixture
def server() -> Iterator[LogServer]:
    with serving(LogServer()) as running:
        yield running


@pytest.fixture
def start(server: LogServer, honest: Recording, tmp_path: Path) -> Iterator[Start]:
    """Starts a watch; one that is started later takes the place of the one before."""
    lives: list[Watch] = []

    def begin(policy: Policy | None = None, **options: float) -> Watch:
        for life in lives:
            life.state.close()
        lives[:] = [
            Watch(server, tmp_path / "state", policy or Policy.of_key(honest.log_key.public), **options)
        ]
        return lives[0]

    yield begin
    for life in lives:
        life.state.close()


def only(alerts: list[Alert], kind: AlertKind, entry: int | None, words: str = "") -> Alert:
    """The one alert there is."""
    assert [alert.kind for alert in alerts] == [kind], alerts
    assert alerts[0].entry == entry, alerts
    assert words in alerts[0].problem, alerts
    return alerts[0]


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


def long_log(recording: Recording, size: int) -> None:
    """Make the recording so long, with entries that cost nothing."""
    terms = {"expires": NOW, "participant": "dee", "role": "smb", "tasks": ["risk"]}
    acts = [Act(time=time, act=InvitationIssued(number=time, **terms)) for time in range(1, size)]
    recording.entries[1:] = acts


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


def forked(recording: Recording, at: int) -> Recording:
    """Another history with the same key: from entry `at` on, times are one second later."""
    other = recording.copy()
    for position in range(at, len(other.entries)):
        entry = other.entries[position]
        other.entries[position] = entry.model_copy(update={"time": entry.time + 1})
    return other


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


# Witnesses

WITNESS = "one"


def witnessed(honest: Recording, url: str) -> Policy:
    """A policy that demands one witness, at `url`."""
    plain = Policy.of_key(honest.log_key.public)
    witness = Witness(WITNESS, "witness.example", fixed_key("witness").public, url)
    return Policy(plain.origin, plain.log_key, (witness,), WITNESS)


def signed(note: str, time: int = NOW) -> str:
    return note + cosign(note, "witness.example", fixed_key("witness"), time)


def test_cosigned_log(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    watch = start(witnessed(honest, server.url))
    assert watch.step() == []
    assert watch.watcher.progress.judged == len(honest.entries)


def test_cosignature_missing(server: LogServer, honest: Recording, start: Start) -> None:
    """For a while nothing is said, and nothing is taken in; then there is one alert."""
    server.show(honest)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 59
    assert watch.step() == []
    watch.now += 1
    alert = only(watch.step(), AlertKind.COSIGNATURE, None, "2027-01-15T08:00:00Z")
    assert alert.check == "cosignature_quorum"
    watch.now += 60
    assert watch.step() == []
    assert watch.watcher.progress.size == 0
    server.note = signed(server.note)
    assert watch.step() == []
    assert watch.watcher.progress.size == len(honest.entries)


def test_cosignature_wrong(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    line = cosign(honest.checkpoint(5), "witness.example", fixed_key("witness"), NOW)
    server.note += line
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    alert = only(start(witnessed(honest, server.url)).step(), AlertKind.COSIGNATURE, None)
    assert alert.check == "cosignature"


@pytest.mark.parametrize("size", [10, 16])
def test_fork_shown_to_a_witness(server: LogServer, honest: Recording, start: Start, size: int) -> None:
    """The witness has seen another history than we are shown; the notes of both prove it."""
    server.show(honest, 16)
    server.note = signed(server.note)
    other = signed(forked(honest, 8).checkpoint(size))
    server.pages[checkpoint_path(honest.origin)] = other.encode()
    alert = only(start(witnessed(honest, server.url)).step(), AlertKind.FORK, None, f"first {size}")
    assert set(alert.evidence) == {other, server.note}


def test_log_behind_its_witness(server: LogServer, honest: Recording, start: Start) -> None:
    """We are shown an old checkpoint for ever, the witness was shown more."""
    server.show(honest, 12)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(16)).encode()
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 60
    only(watch.step(), AlertKind.ROLLBACK, None, "witness 'one'")


def test_witness_silent(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.broken["/checkpoint/"] = lambda handler: handler.send_error(500)
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 60
    only(watch.step(), AlertKind.UNREACHABLE, None, "witness 'one'")


def test_witness_that_shows_what_it_has_not_signed(
    server: LogServer, honest: Recording, start: Start
) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = honest.checkpoint(12).encode()
    only(start(witnessed(honest, server.url)).step(), AlertKind.COSIGNATURE, None, "has not signed")


# unreachable


def drip(handler: object) -> None:
    """Send a byte now and then, so that no single read takes long."""
    for _ in range(100):
        handler.wfile.write(b"H")
        time.sleep(0.05)


def flood(handler: object) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(bytes(1 << 16))


def cut_off(handler: object) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


def elsewhere(handler: object) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.1:9/checkpoint")
    handler.end_headers()


MISBEHAVIOURS = {
    "too slow": drip,
    "more than": flood,
    "cut off": cut_off,
    "302": elsewhere,
    "503": lambda handler: handler.send_error(503),
    "not HTTP": lambda handler: handler.wfile.write(b"\x16\x03\x01 garbage\r\n\r\n"),
    "no checkpoint": lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe"
    ),
}


@pytest.mark.parametrize("words", MISBEHAVIOURS)
def test_server_that_misbehaves(
    server: LogServer, honest: Recording, start: Start, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an alert, never a traceback, and all is well as soon as the server is."""
    monkeypatch.setitem(globals(), "HASTE", Patience(read_s=0.5, answer_s=0.5, pauses_s=()))
    server.show(honest)
    server.broken["checkpoint"] = MISBEHAVIOURS[words]
    watch = start()
    alert = only(watch.step(), AlertKind.UNREACHABLE, None, "the log has not answered")
    assert ("takes too long" if words == "too slow" else words) in alert.remedy
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.size == len(honest.entries)


def test_server_gone(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    watch = start()
    assert watch.step() == []
    watch.watcher._client = LogClient(HttpClient("http://127.0.0.1:9", patience=HASTE))
    only(watch.step(), AlertKind.UNREACHABLE, None)
    watch.now += 100
    assert watch.step() == []  # it is the same outage


@pytest.mark.parametrize("part", ["entries/0/", "blobs"])
def test_interrupted_download_goes_on(server: LogServer, honest: Recording, start: Start, part: str) -> None:
    """What was not fetched is fetched at the next step; nothing is judged twice or left out."""
    server.show(honest)
    server.broken[part] = lambda handler: handler.send_error(500)
    watch = start()
    only(watch.step(), AlertKind.UNREACHABLE, None)
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.proofs == 2
    assert watch.watcher.progress.judged == len(honest.entries)


def test_entries_that_were_not_confirmed_are_not_judged(
    server: LogServer, honest: Recording, start: Start
) -> None:
    """Half of a download proves nothing yet."""
    long_log(honest, 300)
    server.show(honest)
    server.broken["entries/1"] = lambda handler: handler.send_error(500)
    watch = start()
    only(watch.step(), AlertKind.UNREACHABLE, None)
    assert watch.watcher.progress.judged == len(watch.state.tree) == 0
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.judged == 300


def test_server_with_fewer_entries_than_it_signed(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    del server.entries[-1]
    assert "serves no entries" in only(start().step(), AlertKind.UNREACHABLE, None).remedy


@pytest.mark.parametrize(
    "url", ["http://coordinator.example", "ftp://127.0.0.1", "https://", "https://a:b@c.example"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        HttpClient(url)


# The folder


def test_files_are_private(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    server.show(honest)
    start().step()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == dict.fromkeys(("memory.json", "entries", "verified", "lock"), 0o600)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_one_watch_a_folder(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(InputError, match="Another watch"):
        WatchState(tmp_path / "state", honest.origin)


def test_folder_of_another_log(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    server.show(honest)
    watch = start()
    watch.step()
    watch.state.close()
    with pytest.raises(InputError, match="remembers the log"):
        WatchState(tmp_path / "state", "intertwine/other")
    start_again = WatchState(tmp_path / "state", honest.origin)
    start_again.close()


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000])
def test_damaged_entries_are_fetched_again(
    server: LogServer, honest: Recording, start: Start, tmp_path: Path, damage: bytes
) -> None:
    """They are a cache; what was signed is still remembered, and a fork still found."""
    server.show(honest, 12)
    start().step()
    (tmp_path / "state" / "entries").write_bytes(damage)
    server.show(honest, 14)
    watch = start()
    assert watch.step() == []
    assert watch.watcher.progress.judged == 14
    (tmp_path / "state" / "entries").write_bytes(damage)
    server.show(forked(honest, 5))
    only(start().step(), AlertKind.FORK, None, "the first 14 entries")


def test_half_a_line_is_forgotten(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    """As a crash in the middle of writing leaves it; what comes next is not lost with it."""
    server.show(honest, honest.position(Outcome) + 1)
    start().step()
    for name in ("verified", "entries"):
        with (tmp_path / "state" / name).open("ab") as file:
            file.write(b"half a li")
    server.show(honest)
    for _ in range(2):
        watch = start()
        assert watch.step() == []
        assert watch.watcher.progress.proofs == 2
    assert sum("blobs" in path for path in server.requests) == 3 + 3


@pytest.mark.parametrize("name", ["memory.json", "verified"])
def test_damaged_memory_is_named(
    server: LogServer, honest: Recording, start: Start, tmp_path: Path, name: str
) -> None:
    server.show(honest)
    start().step()
    (tmp_path / "state" / name).write_bytes(b"\xff" * 130)
    with pytest.raises(InputError):
        start()
    (tmp_path / "state" / name).unlink()
    start()


# The webhook


def alert_of(problem: str) -> Alert:
    return Alert(AlertKind.BUDGET, 3, problem, "Do something.")


def outbox(server: LogServer, watch: Watch) -> Outbox:
    return Outbox(HttpClient(f"{server.url}/hook?token=1", patience=HASTE), "intertwine/x", watch.state.sent)


def test_documented_alert() -> None:
    """The example on the how-to page is what the code makes of such an alert, and its kinds are all there."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-a-log.md").read_text()
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    fields = {key: value for key, value in example.items() if key not in ("version", "id", "log")}
    kind, fault = AlertKind(fields.pop("kind")), Fault(fields.pop("fault"))
    alert = Alert(**{**fields, "kind": kind, "fault": fault, "evidence": tuple(fields["evidence"])})
    assert alert.document(example["log"]) == example
    assert all(f"| `{kind}` |" in page for kind in AlertKind)


def test_webhook_receives_every_alert_once(server: LogServer, start: Start) -> None:
    """Also after a restart; the key of the request and the alert's own identity are the same."""
    for _ in range(2):
        box = outbox(server, start())
        for problem in ("one", "two", "one"):
            box.put(alert_of(problem))
        box.flush()
        box.flush()
    assert [b'"problem":"one"' in body for body, _ in server.posts] == [True, False]
    body, headers = server.posts[0]
    assert headers["Content-Type"] == "application/json"
    assert f'"id":"{headers["Idempotency-Key"]}"'.encode() in body
    assert headers["Idempotency-Key"] == alert_of("one").identity("intertwine/x")


def test_webhook_that_fails_is_asked_again(server: LogServer, start: Start) -> None:
    box = outbox(server, start())
    assert box.put(alert_of("one"))
    server.refusals = 3  # of four attempts; a flush has two
    with pytest.raises(UnreachableError, match="status 503"):
        box.flush()
    box.flush()
    assert len(server.posts) == 4
    assert not box.put(alert_of("one"))
