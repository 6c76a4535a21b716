"""`audit watch` beside a real control plane over TLS, with a real witness and real proofs."""

import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cli import main
from intertwine.protocols.entries import Failure
from intertwine.protocols.round import RoundId
from intertwine.server.cosigning import coordinator_policy, gather
from intertwine.server.home import Home
from intertwine.server.store import Store
from intertwine.zk.audit import http_client
from tests.federation import MemoryFederation, halved_noise
from tests.serving import served
from tests.toy import STATISTICS, write_points
from tests.witnesses import witness

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def federation(tmp_path: Path, toy: str) -> MemoryFederation:
    """One participant that has enrolled its records and taken part in a run."""
    federation = MemoryFederation(tmp_path)
    federation.add("alder", {toy: write_points(tmp_path / "alder.csv", 30, seed=1)}, max_epsilon=1000.0)
    federation.enrol_records("alder", toy)
    federation.execute(federation.plan(toy, "first", **STATISTICS))
    return federation


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Looks at a log once; exit code and standard error."""
    impatient = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)
    monkeypatch.setattr(http_client, "time", impatient)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def command(url: object, *options: object) -> tuple[int, str]:
        arguments = ["watch", url, "--state", tmp_path / "state", "--once", *options]
        monkeypatch.setattr(sys, "argv", ["intertwine", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, capsys.readouterr().err

    return command


def test_a_federation_is_watched(tmp_path: Path, federation: MemoryFederation, toy: str, run: Run) -> None:
    """Run by run, under a policy with a witness; then a participant cheats; then the coordinator does."""
    home, store = federation.home, federation.store
    log = log_verifier(federation.key.public)
    with ExitStack() as stack:
        one = stack.enter_context(witness(tmp_path / "w", "witness.example", log))
        home.policy_file.write_text(f"log {log}\n{one.line('one')}quorum one\n")
        policy = coordinator_policy(home)
        assert policy is not None
        gather(store, policy)
        client = stack.enter_context(served(home, store, lambda _: 1))
        options = (client.base_url, "--policy", home.policy_file, "--ca", home.authority)
        code, err = run(*options, "--max-epsilon", 1000)
        assert (code, err) == (0, f"{store.size()} entries, 1 rounds, 2 proofs verified, 0 alerts.\n")
        shutil.copytree(home.path, tmp_path / "double")

        federation.execute(federation.plan(toy, "second", **STATISTICS))
        gather(store, policy)
        code, err = run(*options)
        assert (code, err) == (0, f"{store.size()} entries, 2 rounds, 3 proofs verified, 0 alerts.\n")
        code, err = run(client.base_url, "--log-key", federation.key.public)
        assert code == 1
        assert "ALERT unreachable" in err
        assert "certificate is refused" in err

        cheater = {toy: write_points(tmp_path / "birch.csv", 30, seed=2)}
        federation.add("birch", cheater, releaser=halved_noise)
        federation.execute(federation.plan(toy, "third", quorum=1, participants=["alder", "birch"]))
        gather(store, policy)
        code, err = run(*options)
        assert (code, err.count("ALERT")) == (1, 1)
        assert "ALERT rejected_proof" in err
        assert "the release of participant 'birch' in round 1 of run 'third' fails check" in err

    double = Home.open(tmp_path / "double")
    double.policy_file.unlink()
    other = Store(double, double.signing_key)
    with served(double, other, lambda _: 1) as client:
        options = (client.base_url, "--log-key", federation.key.public, "--ca", home.authority)
        code, err = run(*options)
        assert (code, err.count("ALERT rollback")) == (1, 1)
        identity = RoundId(deployment=other.deployment, run="first", task=toy, number=1)
        while other.size() < store.size() + 1:
            other.record(Failure(time=other.size(), round=identity, reason="another history"))
        code, err = run(*options)
        assert (code, err.count("ALERT fork")) == (1, 1)
