"""What an auditor may give `intertwine audit` by mistake: a sentence, a remedy, exit code 2, no file."""

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from intertwine.protocols.bundle import VERSION, Manifest
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cli import main
from intertwine.protocols.note import COSIGNATURE_KEY, VerifierKey
from tests.recording import fixed_key

Refused = Callable[..., str]

KEY = fixed_key("log").public
LOG = f"log {log_verifier(KEY)}\n"
WITNESS = f"witness w {VerifierKey('w.example', COSIGNATURE_KEY, fixed_key('w').public)}\n"
HUGE = 1 << 36
ADDRESS_SPACE = 3 << 30
"""Bytes that the interpreter and all libraries may map together: 64 GiB do not fit."""


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs a command, which must end with exit code 2 and write nothing; returns its error."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["intertwine", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert caught.value.code == 2
        assert output.out == ""
        assert "Traceback" not in output.err
        assert sorted(tmp_path.rglob("*")) == before
        return " ".join(output.err.split())

    return command


def assert_problem_and_remedy(error: str, words: str) -> None:
    """Two sentences: what is wrong, with these words, and what to do."""
    assert re.match(r"Error: .+[.:] \S.*\.$", error), error
    assert words in error, error


def make_folder(path: Path) -> str:
    path.mkdir()
    return "is not a file"


def make_old_bundle(path: Path) -> str:
    """A folder, as bundles once were."""
    path.mkdir()
    (path / "manifest.json").write_text("{}")
    return "is not a file"


def make_empty(path: Path) -> str:
    path.touch()
    return "is not"


def make_pipe(path: Path) -> str:
    os.mkfifo(path)
    return "is not a file"


def make_hole(path: Path) -> str:
    """64 GiB of zeros."""
    with path.open("wb") as file:
        file.truncate(HUGE)
    return ""


def make_loop(path: Path) -> str:
    path.symlink_to(path)
    return "Too many levels of symbolic links"


@pytest.mark.parametrize("command", ["verify", "verify-proof"])
@pytest.mark.parametrize(
    "make",
    [make_empty, make_folder, make_old_bundle, make_pipe, make_hole, make_loop],
    ids=lambda make: make.__name__.removeprefix("make_"),
)
def test_what_is_no_file_of_ours(
    refused: Refused, tmp_path: Path, command: str, make: Callable[[Path], str]
) -> None:
    path = tmp_path / "input"
    words = make(path)
    assert_problem_and_remedy(refused(command, path, "--json", tmp_path / "verdict.json"), words)


@pytest.mark.parametrize("command", ["verify", "verify-proof"])
def test_missing_file(refused: Refused, tmp_path: Path, command: str) -> None:
    assert_problem_and_remedy(refused(command, tmp_path / "nowhere"), "No such file or directory")


@pytest.mark.parametrize("command", ["verify", "verify-proof"])
def test_unreadable_file(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The system says no; a test run as root would be allowed to read anything."""
    path = tmp_path / "private"
    path.touch()

    def refuse(_path: Path, *_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    assert_problem_and_remedy(refused(command, path), "Permission denied")


@pytest.mark.parametrize(
    "key",
    ["", "abc", KEY[:-1], KEY + "0", "G" + KEY[1:], f" {KEY}", str(log_verifier(KEY)), "ssh-ed25519 AAAA"],
    ids=["empty", "short", "63_digits", "65_digits", "no_digit", "blank", "verifier_key", "ssh"],
)
def test_key_of_another_format(refused: Refused, key: str) -> None:
    error = refused("verify", "bundle", "--log-key", key)
    assert_problem_and_remedy(error, f"--log-key: {key!r} is not a key of 64 hexadecimal digits")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe" * 100, KEY[:-1].encode(), KEY.encode() * 2, b"a" * 5000]
)
def test_key_file_without_a_key(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert_problem_and_remedy(refused("verify", "bundle", "--log-key", tmp_path / "key"), "key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no log line"),
        (LOG, "no quorum line"),
        (LOG + LOG + "quorum none\n", "line 2: a second log"),
        (LOG + "allow everything\n", "line 2: 'allow' is unknown"),
        (LOG + "quorum nobody\n", "line 2: 'nobody' is not defined"),
        (LOG + "witness w w.example+00000000+AAAA\nquorum w\n", "line 2"),
        (WITNESS.replace("witness w", "log") + "quorum none\n", "line 1"),
        (LOG + WITNESS + WITNESS.replace(" w ", " v ", 1) + "quorum w\n", "line 3: the key of 'w.example'"),
        (LOG + WITNESS + "group g 2 w\nquorum g\n", "line 3: the threshold '2'"),
        (LOG + WITNESS.rstrip("\n") + " http://witness.example\nquorum w\n", "line 2"),
        (LOG + "\x1b[31mquorum none\n", "line 2: it has a control character"),
        (LOG + "quorum none\n" + "# padding\n" * 7000, "more than the 65536 allowed"),
    ],
    ids=[
        *("empty", "no_quorum", "two_logs", "unknown_word", "undefined_name", "broken_key", "witness_as_log"),
        *("key_twice", "impossible_threshold", "plain_http", "control_character", "too_long"),
    ],
)
def test_bad_policy(refused: Refused, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "policy").write_text(text)
    assert_problem_and_remedy(refused("verify", "bundle", "--policy", tmp_path / "policy"), words)


def test_policy_and_key_together(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(LOG + "quorum none\n")
    error = refused("verify", "bundle", "--policy", tmp_path / "policy", "--log-key", KEY)
    assert_problem_and_remedy(error, "both name the log's key")


@pytest.mark.parametrize("option", ["--policy", "--log-key", "--checkpoint"])
def test_option_that_names_a_huge_or_a_missing_file(refused: Refused, tmp_path: Path, option: str) -> None:
    make_hole(tmp_path / "huge")
    keys = option == "--log-key"
    for name, words in (("huge", f"has {HUGE} bytes"), ("nowhere", "No such file")):
        error = refused("verify", "bundle", option, tmp_path / name)
        assert_problem_and_remedy(error, "nor a file to read it from" if keys else words)


@pytest.mark.parametrize("option", [("--workers", "0"), ("--workers", "many"), ("--fast",), ("--policy",)])
def test_option_that_does_not_exist_or_fit(refused: Refused, option: tuple[str, ...]) -> None:
    assert option[0] in refused("verify", "bundle", *option)


@pytest.mark.parametrize("part", ["manifest", "entries", "blobs"])
def test_huge_claims_are_refused_before_room_is_made_for_them(tmp_path: Path, part: str) -> None:
    """A bundle of 64 GiB of holes, in a process that may not have as much memory: a failed check, at once."""
    path, magic = tmp_path / "bundle", VERSION.encode() + b"\n"
    sizes = {"entries": 1, "entries_bytes": 0, "blobs": 0, "blobs_bytes": 0} | (
        {part: 1 << 32, f"{part}_bytes": HUGE} if part != "manifest" else {}
    )
    manifest = Manifest(
        origin="o", log_key=KEY, runs=[], checkpoint="c", earlier=[], publications=[], **sizes
    ).encode()
    length = 0xFFFFFFFF if part == "manifest" else len(manifest)
    head = magic + length.to_bytes(4) + manifest
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + HUGE)
    code = "from intertwine.protocols.cli import main; main()"
    command = [sys.executable, "-c", code, "audit", "verify", path, "--no-cache"]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)),
    )
    assert result.returncode == 1, result.stderr
    assert "claims" in result.stdout or "not a proper bundle" in result.stdout
    assert "Traceback" not in result.stderr
