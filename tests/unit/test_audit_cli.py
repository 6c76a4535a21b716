"""`intertwine audit verify`: exit codes, words and JSON."""

import html
import importlib
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from intertwine.protocols.accounting import Assurance, Guarantee
from intertwine.protocols.entries import ModelEntry, Outcome
from intertwine.zk.audit.verdict import CHECKS, CheckResult, Counts, Status, Verdict
from intertwine.zk.privacy import PrivacyRow
from tests.recording import Recording


def load(name: str) -> ModuleType:
    """A command-line module; typer's first import uses functions that click has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'click.utils", category=DeprecationWarning)
        return importlib.import_module(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command as a user would; returns exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["intertwine", "audit", *map(str, arguments)])
        cli = load("intertwine.protocols.cli")
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return command


def test_pass(recording: Recording, tmp_path: Path, run) -> None:
    bundle, file = recording.write(tmp_path), tmp_path / "verdict.json"
    code, out, err = run("verify", bundle, "--json", file)
    assert (code, err) == (0, "")
    assert (
        f"PASS: {len(recording.entries)} entries, 2 rounds; proofs verified: 3; rejections reproduced: 1."
        in out
    )
    assert f"Compare it with the coordinator's: {recording.log_key.public}" in out.replace("\n", "")
    flat = " ".join(out.split())
    assert "all data, proven: a release without a valid proof may have revealed anything." in flat
    assert "This concerns ben (risk)" in flat
    document = json.loads(file.read_bytes())
    assert document["version"] == "intertwine/verdict/v2"
    assert document["passed"] is True
    assert len(document["checks"]) == len(CHECKS)
    epsilons = {row["participant"]: row["guarantee"]["epsilon"] for row in document["privacy"]}
    assert math.isinf(epsilons["ben"])
    assert 0 < epsilons["ana"] < 2


@pytest.mark.parametrize("as_file", [True, False])
def test_pass_with_the_known_key(recording: Recording, tmp_path: Path, run, as_file: bool) -> None:
    key = recording.log_key.public
    (tmp_path / "key").write_text(f"{key.upper()}\n")
    code, out, _ = run("verify", recording.write(tmp_path), "--log-key", tmp_path / "key" if as_file else key)
    assert code == 0
    assert "Signed with the key you gave." in out


def test_report(recording: Recording, tmp_path: Path, run) -> None:
    """A page that says how to get it again, with files by their names alone."""
    (tmp_path / "log key").write_text(recording.log_key.public)
    page = tmp_path / "report.html"
    options = ("--log-key", tmp_path / "log key", "--independent", "--html", page)
    code, _, err = run("verify", recording.write(tmp_path), *options)
    assert (code, err) == (0, "")
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    command = "intertwine audit verify test.bundle --log-key 'log key' --independent"
    assert f"<pre>{html.escape(command)}</pre>" in text
    assert "used: it checked every proof as well" in text
    assert str(tmp_path) not in text


def test_fail(recording: Recording, tmp_path: Path, run) -> None:
    recording.edit(recording.position(Outcome, -1), verdict="rejected", check="constraint_identity")
    file = tmp_path / "verdict.json"
    code, out, _ = run("verify", recording.write(tmp_path), "--json", file)
    assert code == 1
    assert "FAIL: this bundle is not to be trusted. Failed: 14 proof" in out
    document = json.loads(file.read_bytes())
    assert document["passed"] is False
    failed = document["checks"][13]
    assert (failed["number"], failed["name"], failed["status"]) == (14, "proof", "fail")
    assert failed["entry"] == recording.position(Outcome, -1) - 1


def test_wrong_key(recording: Recording, tmp_path: Path, run) -> None:
    code, out, _ = run("verify", recording.write(tmp_path), "--log-key", "ab" * 32)
    assert code == 1
    assert "Failed: 3 checkpoint_signature" in out
    assert "not reached" in out


@pytest.mark.parametrize("content", [None, b"not a key", b"\xff" * 64, b"a" * 5000])
def test_unusable_key(recording: Recording, tmp_path: Path, run, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    code, _, err = run("verify", recording.write(tmp_path), "--log-key", tmp_path / "key")
    assert code == 2
    assert err.startswith("Error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("verify",), ("verify", "nowhere"), ("verify", "nowhere", "--fast")])
def test_unusable_input(
    tmp_path: Path, run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_verdict_that_cannot_be_written(recording: Recording, tmp_path: Path, run) -> None:
    code, _, err = run("verify", recording.write(tmp_path), "--json", tmp_path / "missing" / "verdict.json")
    assert code == 2
    assert "cannot be written" in err


def test_figure_that_protects_nothing_is_called_so() -> None:
    """Where the noise's finite precision alone uses up delta."""
    guarantees = {"ana": Guarantee(40.0, 1e-5, 1e-3), "ben": Guarantee(1.0, 1e-5, 1e-9)}
    rows = [
        PrivacyRow(name, "risk", Assurance.ATTESTED_RECORD, "zero-out", figures, 1, 0, 0, 0)
        for name, figures in guarantees.items()
    ]
    notes = [str(note) for note in load("intertwine.zk.audit.cli").privacy_notes(verdict(tuple(rows)))]
    flagged = [note for note in notes if "Warning" in note]
    assert len(flagged) == 1
    assert "ana" in flagged[0]
    assert "1.0e-03; the figure gives no protection" in flagged[0]


def test_notes_explain_the_levels_that_are_shown() -> None:
    words = {
        Assurance.PROVEN_RECORD: "nothing is claimed for a participant as a whole",
        Assurance.ATTESTED_RECORD: "rest on the participant clipping each record",
    }
    for level in words:
        row = PrivacyRow("ana", "risk", level, "zero-out", Guarantee(1.0, 1e-5, 1e-9), 1, 0, 0, 0)
        (note,) = [str(note) for note in load("intertwine.zk.audit.cli").privacy_notes(verdict((row,)))]
        assert [words[other] in note for other in words] == [other is level for other in words]


def verdict(rows: tuple[PrivacyRow, ...], detail: str = "") -> Verdict:
    check = CheckResult(1, "bundle_format", Status.FAILED, detail)
    return Verdict(False, (check,), rows, Counts(), "ab" * 32, False, ("M1",))


def test_infinity_is_a_number_in_json_and_words_stay_words() -> None:
    row = PrivacyRow(
        "ana", "risk", Assurance.ATTESTED_RECORD, "zero-out", Guarantee(math.inf, 1e-5, 1.0), 1, 1, 0, 0
    )
    data = load("intertwine.zk.audit.cli").verdict_to_json(verdict((row,), "Infinity"))
    assert b'"epsilon": 1e999' in data

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    document = json.loads(data, parse_constant=refuse)
    assert math.isinf(document["privacy"][0]["guarantee"]["epsilon"])
    assert document["checks"][0]["detail"] == "Infinity"


def test_bundle_cannot_command_the_terminal(recording: Recording, tmp_path: Path, run) -> None:
    recording.edit(recording.position(Outcome, 1), check="\x1b]0;owned\x07[red]constraint_identity")
    recording.entries[recording.position(ModelEntry) :] = []
    code, out, _ = run("verify", recording.write(tmp_path))
    assert code == 1
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]constraint_identity" in out.replace("\n", "")


def test_auditor_needs_only_the_base_install(recording: Recording, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import intertwine.zk.audit.cli as cli\n"
        "assert cli.verify_bundle(Path(sys.argv[1])).passed\n"
        "heavy = {'torch', 'flwr', 'fastapi', 'onnxruntime', 'onnx', 'sqlalchemy', 'opacus', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, str(recording.write(tmp_path))]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")
