"""Witnesses as processes, a coordinator that asks them, and its log over TLS."""

import shutil
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from intertwine.protocols.bundle import Bundle
from intertwine.protocols.checkpoint import Checkpoint, log_verifier
from intertwine.protocols.cli import main
from intertwine.protocols.cosignature import find_fork, open_cosigned, read_cosigned
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Failure, ModelEntry, Publication, decode_entry
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash, verify_consistency
from intertwine.protocols.note import SignedNote
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import RoundId
from intertwine.protocols.signing import SigningKey
from intertwine.protocols.witnessing import checkpoint_path
from intertwine.server import cosigning
from intertwine.server.cosigning import Cosigning, coordinator_policy, gather
from intertwine.server.export import export_bundle
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.log_api import BATCH
from intertwine.server.store import Store
from intertwine.zk.audit.http_client import HttpClient
from intertwine.zk.audit.log_client import LogClient
from tests.federation import MemoryFederation
from tests.serving import served
from tests.toy import write_points
from tests.witnesses import RunningWitness, witness

SETTINGS = CoordinatorSettings(host="127.0.0.1", fleet_port=9092, control_port=8443)


KEYS = [SigningKey.generate() for _ in range(32)]
"""Of the logs that the witnesses follow; each test takes one for itself."""
Run: TypeAlias = Callable[..., tuple[object, str, str]]
Pair: TypeAlias = tuple[RunningWitness, RunningWitness]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two witnesses."""
    folder, logs = tmp_path_factory.mktemp("witnesses"), [log_verifier(key.public) for key in KEYS]
    with (
        witness(folder / "ana", "ana.example/w", *logs) as ana,
        witness(folder / "ben", "ben.example/w", *logs) as ben,
    ):
        yield ana, ben


@pytest.fixture(scope="module")
def unused() -> Iterator[SigningKey]:
    """The keys that no test has taken yet."""
    return iter(KEYS)


@pytest.fixture
def home(tmp_path: Path, unused: Iterator[SigningKey]) -> Home:
    (tmp_path / "home").mkdir(mode=0o700)
    next(unused).write(tmp_path / "home" / "signing.key")
    return Home.create(tmp_path / "home", SETTINGS)


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home, home.signing_key)


def grow(store: Store, count: int, word: str = "history") -> None:
    """Add entries."""
    identity = RoundId(deployment=store.deployment, run="spring", task="risk", number=1)
    size = store.size()
    with store.transaction() as session:
        for number in range(size, size + count):
            store.append(session, Failure(time=number, round=identity, reason=f"{word} {number}"))


def log_a_blob(store: Store) -> str:
    """Keep a blob that an entry names."""
    digest = store.put_blob(b"parameters")
    identity = RoundId(deployment=store.deployment, run="spring", task="risk", number=1)
    store.record(ModelEntry(time=1, round=identity, accepted=[], aggregate="ab" * 32, parameters=digest))
    return digest


def write_policy(home: Home, *lines: str) -> Policy:
    home.policy_file.write_text(f"log {log_verifier(home.signing_key.public)}\n{''.join(lines)}\n")
    policy = coordinator_policy(home)
    assert policy is not None
    return policy


def both(home: Home, pair: Pair, threshold: str = "all") -> Policy:
    ana, ben = pair
    return write_policy(home, ana.line("ana"), ben.line("ben"), f"group g {threshold} ana ben\nquorum g")


def last_cosigned(witness: RunningWitness, origin: str) -> str:
    """What everybody can read from a witness."""
    answer = httpx.get(witness.url + checkpoint_path(origin), trust_env=False)
    assert answer.status_code == 200
    return answer.text


def test_fork_two_witnesses(tmp_path: Path, home: Home, store: Store, pair: Pair) -> None:
    """A coordinator that shows each witness, and each reader, another log of equal size is found out."""
    ana, ben = pair
    policy = both(home, pair)
    shutil.copytree(home.path, tmp_path / "double")
    double = Home.open(tmp_path / "double")
    other = Store(double, double.signing_key)
    grow(store, 3)
    grow(other, 3, "another history")
    gather(store, write_policy(home, ana.line("ana"), "quorum ana"))
    gather(other, write_policy(double, ben.line("ben"), "quorum ben"))

    notes = [last_cosigned(witness, store.origin) for witness in pair]
    assert [[c.nickname for c in read_cosigned(note, policy).cosigners] for note in notes] == [
        ["ana"],
        ["ben"],
    ]
    fork = find_fork(notes, policy)
    assert fork is not None
    assert fork.size == store.size() == other.size()
    assert [fork.first, fork.second] == notes

    with served(home, store, lambda _: 1) as one, served(double, other, lambda _: 1) as two:
        shown = [client.get("/v1/log/checkpoint").text for client in (one, two)]
    assert shown == notes
    for note in shown:
        with pytest.raises(VerificationError) as caught:
            open_cosigned(note, policy)
        assert caught.value.check == "cosignature_quorum"


def test_a_watcher_finds_the_fork(tmp_path: Path, home: Home, store: Store, pair: Pair, run: Run) -> None:
    """Whoever watches what the coordinator serves, and what the witnesses co-signed, is told."""
    ana, ben = pair
    shutil.copytree(home.path, tmp_path / "double")
    double = Home.open(tmp_path / "double")
    other = Store(double, double.signing_key)
    grow(store, 3)
    grow(other, 3, "another history")
    gather(other, write_policy(double, ben.line("ben"), "quorum ben"))
    gather(store, write_policy(home, ana.line("ana"), "quorum ana"))
    policy = tmp_path / "watch.policy"
    policy.write_text(f"log {log_verifier(store.deployment)}\n{ana.line('ana')}{ben.line('ben')}quorum ana\n")
    with served(home, store, lambda _: 1) as client:
        watch = ["audit", "watch", str(client.base_url), "--ca", str(home.authority), "--once"]
        code, shown, error = run(*watch, "--policy", str(policy), "--state", str(tmp_path / "state"))
    assert code == 1
    assert "fork" in (shown + error).lower()


def test_a_witness_refuses_the_second_history(
    tmp_path: Path,
    home: Home,
    store: Store,
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fork of any size gets no co-signature from a witness that has seen the first history."""
    shutil.copytree(home.path, tmp_path / "double")
    double = Home.open(tmp_path / "double")
    other = Store(double, double.signing_key)
    policy = both(home, pair)
    grow(store, 3)
    grow(other, 3, "another history")
    gather(store, policy)
    before = [last_cosigned(witness, store.origin) for witness in pair]
    assert read_cosigned(gather(other, policy).checkpoint, policy).cosigners == ()
    assert "another history" in caplog.text
    grow(other, 3, "another history")
    assert read_cosigned(gather(other, policy).checkpoint, policy).cosigners == ()
    assert other.cosigned(1) == []
    assert [last_cosigned(witness, store.origin) for witness in pair] == before
    for one in pair:
        assert (one.home.path / f"fork-{sha256(store.origin.encode())[:16]}.txt").exists()


def test_the_log_is_cosigned_as_it_grows(tmp_path: Path, home: Home, store: Store, pair: Pair) -> None:
    """Every co-signed checkpoint extends the one before; a witness that was away catches up."""
    log = log_verifier(home.signing_key.public)
    with ExitStack() as stack:
        ben = stack.enter_context(witness(tmp_path / "ben", "ben.example/w", log))
        policy = both(home, (pair[0], ben))
        client = stack.enter_context(served(home, store, lambda _: 1))
        assert client.get("/v1/log/checkpoint").status_code == 404
        grow(store, 2)
        first = gather(store, policy)
        assert client.get("/v1/log/checkpoint").text == first.checkpoint
        assert open_cosigned(first.checkpoint, policy).nicknames == {"ana", "ben"}

        ben.process.send_signal(signal.SIGINT)
        assert ben.process.wait(10) == 0
        grow(store, 3)
        partial = gather(store, policy)
        assert read_cosigned(partial.checkpoint, policy).nicknames == {"ana"}
        shown = client.get("/v1/log/checkpoint")
        assert (shown.text, shown.headers["cache-control"]) == (first.checkpoint, "no-cache")

        port = int(ben.url.rpartition(":")[2])
        with witness(ben.home.path, "ben.example/w", log, port=port):
            second = gather(store, policy)
        assert client.get("/v1/log/checkpoint").text == second.checkpoint
    old, new = (open_cosigned(view.checkpoint, policy).checkpoint for view in (first, second))
    verify_consistency(old.size, old.root, new.size, new.root, second.tree.consistency(old.size, new.size))
    assert [size for size, _ in store.cosigned(10)] == [new.size, old.size]


def test_up_gathers_by_itself(home: Home, store: Store, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosigning, "PERIOD_S", 0.05)
    policy = both(home, pair)
    with Cosigning(store, policy):
        for _ in range(2):
            grow(store, 2)
            deadline = time.monotonic() + 10
            while store.cosigned(1)[:1] == [] or store.cosigned(1)[0][0] < store.size():
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_the_bundle_holds_the_cosignatures(tmp_path: Path, home: Home, store: Store, pair: Pair) -> None:
    policy = both(home, pair, "any")
    grow(store, 2)
    first = gather(store, policy)
    grow(store, 5)
    ana, ben = pair
    away = f"witness ana {ana.home.verifier} http://127.0.0.1:9\n"
    policy = write_policy(home, away, ben.line("ben"), "group g any ana ben\nquorum g")
    export_bundle(store, tmp_path / "bundle", policy=policy)
    with_proofs = Bundle.open(tmp_path / "bundle")
    newest = open_cosigned(with_proofs.checkpoint, policy)
    assert newest.nicknames == {"ben"}
    assert newest.checkpoint.size == store.size()
    (earlier,) = with_proofs.manifest.earlier
    assert earlier.checkpoint == first.checkpoint
    old = open_cosigned(earlier.checkpoint, policy).checkpoint
    path = [bytes.fromhex(node) for node in earlier.consistency]
    verify_consistency(old.size, old.root, newest.checkpoint.size, newest.checkpoint.root, path)


def test_an_old_database_is_noticed(
    tmp_path: Path,
    home: Home,
    store: Store,
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = both(home, pair)
    grow(store, 2)
    shutil.copytree(home.path, tmp_path / "backup")
    grow(store, 5)
    gather(store, policy)
    restored = Home.open(tmp_path / "backup")
    view = gather(Store(restored, restored.signing_key), policy)
    assert read_cosigned(view.checkpoint, policy).cosigners == ()
    assert "was an old database restored?" in caplog.text


def test_every_round_is_cosigned(tmp_path: Path, toy: str, unused: Iterator[SigningKey], pair: Pair) -> None:
    """The driver of a run asks the witnesses after each round, and once the model is published."""
    (tmp_path / "coordinator").mkdir(mode=0o700)
    next(unused).write(tmp_path / "coordinator" / "signing.key")
    federation = MemoryFederation(tmp_path)
    federation.add("alder", {toy: write_points(tmp_path / "alder.csv", 30, seed=1)})
    federation.add("birch", {toy: write_points(tmp_path / "birch.csv", 30, seed=2)})
    policy = both(federation.home, pair)
    federation.execute(federation.plan(toy, "spring", rounds=1))
    log = [decode_entry(data) for data in federation.store.entries()]
    ends = [size for size, entry in enumerate(log, 1) if isinstance(entry, ModelEntry | Publication)]
    notes = federation.store.cosigned(10)
    assert [size for size, _ in notes] == ends[::-1]
    assert all(open_cosigned(note, policy).checkpoint.size == size for size, note in notes)


@pytest.mark.parametrize("text", ["log x\n", "quorum none\n", "witness\n"])
def test_a_bad_policy_is_one_sentence(home: Home, text: str) -> None:
    assert coordinator_policy(home) is None
    home.policy_file.write_text(text)
    with pytest.raises(InputError, match=r"witnesses\.policy: (Policy, line|The policy)"):
        coordinator_policy(home)


def test_a_policy_of_another_log(home: Home) -> None:
    home.policy_file.write_text(f"log {log_verifier('ab' * 32)}\nquorum none\n")
    with pytest.raises(InputError, match="another one's"):
        coordinator_policy(home)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit code, output and errors."""

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["intertwine", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_the_coordinators_commands(home: Home, run: Run) -> None:
    """A policy that cannot be used stops `up` before anything is started; `status` prints the log's line."""
    place = ["--home", str(home.path)]
    code, shown, _ = run("coordinator", "status", *place)
    assert (code, f"For policies: log {log_verifier(home.signing_key.public)}" in shown) == (0, True)
    home.policy_file.write_text("quorum none\n")
    code, _, error = run("coordinator", "up", *place)
    assert (code, error.count("\n")) == (2, 1)
    assert "has no log line" in error
    write_policy(home, "quorum none")
    code, shown, _ = run("coordinator", "status", *place)
    assert "has co-signed 0 of 1 log entries" in shown


def test_export_warns_without_a_quorum(
    tmp_path: Path, home: Home, store: Store, pair: Pair, run: Run
) -> None:
    grow(store, 1)
    export = ["coordinator", "export", "--home", str(home.path), "--output"]
    both(home, pair)
    _, shown, _ = run(*export, str(tmp_path / "good"))
    assert "Warning" not in shown
    away = f"witness ana {pair[0].home.verifier} http://127.0.0.1:9\n"
    write_policy(home, away, "quorum ana")
    grow(store, 1)
    code, shown, _ = run(*export, str(tmp_path / "bad"))
    assert (code, "Warning: the witnesses' quorum" in shown) == (0, True)


def test_the_witness_command(tmp_path: Path, run: Run) -> None:
    """Bad input is one sentence and exit code 2; init prints a policy's line, the same one twice."""
    place = ["--home", str(tmp_path / "w")]
    log = str(log_verifier("ab" * 32))
    code, _, error = run("audit", "witness", "serve", *place, "--log", log)
    assert (code, error.count("\n")) == (2, 1)
    made, again = (run("audit", "witness", "init", *place, "--name", "witness.example/w1") for _ in range(2))
    assert made == again == (0, made[1], "")
    assert len(Policy.parse(f"log {log}\n{made[1]}quorum none\n").witnesses) == 1
    code, _, error = run("audit", "witness", "serve", *place, "--log", log[:-4])
    assert (code, error.count("\n")) == (2, 1)
    assert "verifier key" in error


# The log over HTTP


@pytest.fixture
def client(home: Home, store: Store) -> Iterator[httpx.Client]:
    with served(home, store, lambda _: 1) as client:
        yield client


def test_a_reader_rebuilds_the_log(home: Home, store: Store, client: httpx.Client) -> None:
    """From the entries alone the checkpoint's root follows; without witnesses it is fresh."""
    grow(store, BATCH + 5)
    note = client.get("/v1/log/checkpoint").text
    checkpoint = Checkpoint.parse(SignedNote.parse(note, 4096).text)
    assert checkpoint.size == store.size()
    full, width = client.get("/v1/log/entries/0"), store.size() - BATCH
    rest = client.get(f"/v1/log/entries/1/{width}")
    lines = (full.content + rest.content).splitlines()
    assert lines == store.entries()
    assert Tree(map(leaf_hash, lines)).root(len(lines)) == checkpoint.root
    assert client.get("/v1/log/entries/1").status_code == 404
    assert client.get(f"/v1/log/entries/1/{width + 1}").status_code == 404
    assert client.get("/v1/log/entries/0/1").content == lines[0] + b"\n"


def test_the_auditors_client_reads_it(home: Home, store: Store, client: httpx.Client) -> None:
    grow(store, BATCH + 5)
    digest = log_a_blob(store)
    reader = LogClient(
        HttpClient(str(client.base_url), ssl.create_default_context(cafile=str(home.authority)))
    )
    assert reader.checkpoint() == client.get("/v1/log/checkpoint").text
    read = [entry for batch in reader.entries(3, store.size()) for entry in batch]
    assert read == store.entries(3)
    assert reader.blob(digest) == b"parameters"


def test_caching(store: Store, client: httpx.Client) -> None:
    grow(store, BATCH)
    digest = log_a_blob(store)
    kinds = {
        "/v1/log/entries/0": "application/x-ndjson",
        "/v1/log/entries/0/7": "application/x-ndjson",
        f"/v1/log/blobs/{digest}": "application/octet-stream",
    }
    for path, kind in kinds.items():
        answer = client.get(path)
        assert answer.headers["content-type"] == kind
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["etag"] == f'"{sha256(answer.content)}"'
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        changed = client.get(path, headers={"If-None-Match": '"ab"'})
        assert changed.content == answer.content
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))
        assert head.headers["etag"] == answer.headers["etag"]
    head = client.head("/v1/log/checkpoint")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert client.get(f"/v1/log/blobs/{digest}").content == b"parameters"


def test_nothing_else_is_served(store: Store, client: httpx.Client) -> None:
    secret = store.put_blob(b"put here, but named by no entry")
    paths = [
        f"/v1/log/blobs/{secret}",
        f"/v1/log/blobs/{'0' * 64}",
        "/v1/log/blobs/..%2Fsigning.key",
        "/v1/log/blobs/../../signing.key",
        f"/v1/log/blobs/{'A' * 64}",
        "/v1/log/entries/-1",
        "/v1/log/entries/x",
        "/v1/log/entries/0/0",
        "/v1/log/entries/0/256",
        "/v1/log/entries/0/1e2",
        f"/v1/log/entries/{2**70}",
        "/v1/log/entries",
        "/v1/log",
    ]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code in (404, 422), path
        assert len(answer.content) < 300
    for path in ("/v1/log/checkpoint", "/v1/log/entries/0/1"):
        assert client.request("POST", path, content=b"{}").status_code == 405
        assert client.delete(path).status_code == 405
