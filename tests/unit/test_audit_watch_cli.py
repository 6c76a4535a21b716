"""`intertwine audit watch`: exit codes, words, the webhook, and how it ends."""

import importlib
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intertwine.protocols.entries import ReleaseEntry
from tests.log_server import LogServer, serving
from tests.recording import Recording

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def server(recording: Recording) -> Iterator[LogServer]:
    with serving(LogServer()) as running:
        yield running


@pytest.fixture
def run(
    server: LogServer,
    recording: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs `audit watch` on the server's log as a user would; returns exit code and standard error."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    handler = signal.getsignal(signal.SIGTERM)

    def command(*options: object, key: bool = True) -> tuple[int, str]:
        mine = ["--log-key", recording.log_key.public] if key else []
        arguments = [server.url, "--state", tmp_path / "state", *mine, *options]
        monkeypatch.setattr(sys, "argv", ["intertwine", "audit", "watch", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'click.utils", category=DeprecationWarning)
            cli = importlib.import_module("intertwine.protocols.cli")
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    yield command
    signal.signal(signal.SIGTERM, handler)


def honest_part(recording: Recording) -> int:
    """How many entries there are before ben's release, which is the first that is wrong."""
    return recording.position(ReleaseEntry, 1)


def test_once_and_well(server: LogServer, recording: Recording, run: Run) -> None:
    size = honest_part(recording)
    server.show(recording, size)
    code, err = run("--once")
    assert (code, err) == (0, f"{size} entries, 1 rounds, 1 proofs verified, 0 alerts.\n")


def test_once_tells_everything(server: LogServer, recording: Recording, run: Run) -> None:
    server.show(recording)
    code, err = run("--once", "--max-epsilon", 100)
    assert code == 1
    position = recording.position(ReleaseEntry, 1)
    assert f"ALERT rejected_proof, entry {position}, check constraint_identity: the release of" in err
    assert "ALERT missing_release" in err
    assert "ALERT budget" in err


def test_ends_at_the_first_alert(server: LogServer, recording: Recording, run: Run) -> None:
    server.show(recording, honest_part(recording) + 2)
    code, err = run()
    assert (code, err.count("ALERT")) == (1, 1)


def test_policy_file(server: LogServer, recording: Recording, run: Run, tmp_path: Path) -> None:
    from intertwine.protocols.policy import Policy

    server.show(recording, honest_part(recording))
    policy = tmp_path / "log.policy"
    policy.write_text(f"log {Policy.of_key(recording.log_key.public).log}\nquorum none\n")
    assert run("--once", "--policy", policy, key=False)[0] == 0
    assert run("--once", "--policy", policy)[0] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log-key", "beef"], "64 hexadecimal digits"),
        (["--policy", "missing"], "missing cannot be read"),
        (["--log-key", "00" * 32, "--max-epsilon", "0"], "--max-epsilon: 0.0 is not a positive number"),
        (["--log-key", "00" * 32, "--max-epsilon", "nan"], "--max-epsilon"),
        (["--log-key", "00" * 32, "--interval", "0"], "--interval"),
        (["--log-key", "00" * 32, "--ca", "missing"], "--ca: missing does not hold"),
        (["--log-key", "00" * 32, "--webhook", "http://example.com"], "is not a URL to use"),
        (["--log-key", "00" * 32, "--webhook", "example.com/hook"], "is not a URL to use"),
        ([], "must be known from elsewhere"),
    ],
)
def test_bad_input(run: Run, tmp_path: Path, options: list[str], words: str) -> None:
    code, err = run("--once", *options, key=False)
    assert code == 2
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not (tmp_path / "state").exists()


def test_webhook(server: LogServer, recording: Recording, run: Run) -> None:
    """Every alert is told once, also after a restart; the exit code still says that there are some."""
    server.show(recording)
    hook = f"{server.url}/hook"
    code, err = run("--once", "--webhook", hook)
    assert (code, err.count("ALERT")) == (1, 2)
    documents = [json.loads(body) for body, _ in server.posts]
    assert [(each["version"], each["log"]) for each in documents] == [
        ("intertwine/alert/v1", recording.origin)
    ] * 2
    rejected = next(each for each in documents if each["kind"] == "rejected_proof")
    assert rejected["entry"] == recording.position(ReleaseEntry, 1)
    assert rejected["fault"] == "participant"
    code, err = run("--once", "--webhook", hook)
    assert (code, err.count("ALERT"), len(server.posts)) == (1, 0, 2)


def test_webhook_that_fails(server: LogServer, recording: Recording, run: Run) -> None:
    server.show(recording, honest_part(recording) + 2)
    server.refusals = 1000
    code, err = run("--once", "--webhook", f"{server.url}/hook?secret=1")
    assert code == 1
    assert "The webhook did not take an alert, which waits" in err
    assert "secret" not in err
    server.refusals, server.posts = 0, []
    assert run("--once", "--webhook", f"{server.url}/hook")[0] == 1
    assert len(server.posts) == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ends_with_zero_when_it_is_told_to(
    server: LogServer, recording: Recording, tmp_path: Path, ending: signal.Signals
) -> None:
    """It goes on after all is well, and can be ended at any time."""
    server.show(recording, 8)
    command = "import sys; from intertwine.protocols.cli import main; sys.argv[0] = 'intertwine'; main()"
    options = ["audit", "watch", server.url, "--log-key", recording.log_key.public, "--interval", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *options, "--state", str(tmp_path / "state")],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while server.requests.count("/v1/log/checkpoint") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(ending)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "state" / "memory.json").exists()
