"""`intertwine audit verify-proof`: words, exit codes and JSON, on conformance vectors."""

import importlib
import json
import sys
import warnings
from pathlib import Path

import pytest

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import proof_verdict
from tests.conformance.generate_vectors import FOLDER

HONEST, ALTERED = FOLDER / "release-honest.json", FOLDER / "release-u_entry_plus_1.json"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command as a user would; returns exit code, standard output and standard error."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["intertwine", "audit", "verify-proof", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'click.utils", category=DeprecationWarning)
            cli = importlib.import_module("intertwine.protocols.cli")
            with pytest.raises(SystemExit) as caught:
                cli.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return command


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("release-honest", ["57 entries", "deviation 100", "norm is at most 400", "good gradient"]),
        ("dataset-honest", ["20 records with 3 features", "norm at most 50", "label 0 or 1", "are true"]),
        ("dataset-honest-uniform", ["4 records", "one weight of the record"]),
        (
            "statistics-honest",
            ["35 records", "times their label", "at most 50 (L2)", "page's own proof"],
        ),
        ("statistics-honest-gram", ["Gram matrix", "at most 2501 (L2)"]),
        ("glm-honest", ["probability 1024/2048", "deviation 2049", "100 · 50 = 5000", "are the plan's"]),
        ("glm-honest-full-lot", ["over every record"]),
    ],
)
def test_accepted(run, file: str, words: list[str]) -> None:
    code, out, err = run(FOLDER / f"{file}.json")
    assert (code, err) == (0, "")
    assert "fast verifier: accepted" in out
    assert "independent verifier: accepted" in out
    assert "Not proven:" in out
    assert out.endswith("PASS: this proof shows what is said above.\n")
    assert all(word in out for word in words), out


def test_rejected(run, tmp_path: Path) -> None:
    code, out, err = run(ALTERED, "--json", tmp_path / "verdict")
    assert (code, err) == (1, "")
    for verifier in ("fast", "independent"):
        assert f"{verifier} verifier: rejected by check 11 constraint_identity: " in out
    assert out.endswith("FAIL: this proof shows nothing.\n")
    document = json.loads((tmp_path / "verdict").read_bytes())
    assert document["version"] == "intertwine/proof-verdict/v1"
    assert (document["accepted"], document["agreed"]) == (False, True)
    assert [opinion["verifier"] for opinion in document["opinions"]] == ["fast", "independent"]
    assert {opinion["number"] for opinion in document["opinions"]} == {11}
    assert document["summary"]["title"].startswith("release")


@pytest.mark.parametrize("verifier", ["fast", "independent"])
def test_one_verifier(run, verifier: str) -> None:
    code, out, _ = run(ALTERED, "--verifier", verifier)
    assert code == 1
    assert f"{verifier} verifier: rejected" in out
    assert out.count("verifier: ") == 1


def test_public_input_out_of_range(run) -> None:
    """Then there is no statement to put into words."""
    code, out, _ = run(FOLDER / "statistics-shape_out_of_range-label.json")
    assert code == 1
    assert "rejected by check 2 dataset_shape" in out
    assert "Proven" not in out


@pytest.mark.parametrize("verifier", ["fast", "independent", "both"])
@pytest.mark.parametrize("file", ["not_a_file-cut", "not_a_file-unknown-field", "not_a_file-large-number"])
def test_not_a_proof_file(run, file: str, verifier: str) -> None:
    code, out, err = run(FOLDER / f"release-{file}.json", "--verifier", verifier)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert "Traceback" not in err


def test_file_missing_or_too_large(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path / "nowhere")[0] == 2
    monkeypatch.setattr("intertwine.zk.proof_file.MAX_FILE_BYTES", 1000)
    code, _, err = run(ALTERED)
    assert code == 2
    assert "more than the 1000 allowed" in err


@pytest.mark.parametrize("wrong", [None, VerificationError("opening_pairing", "x."), InputError("no file.")])
def test_disagreement(run, monkeypatch: pytest.MonkeyPatch, wrong: Exception | None) -> None:
    """A verifier with a defect is noticed, whatever it says."""

    def independent(data: bytes) -> None:
        if wrong is not None:
            raise wrong

    monkeypatch.setattr(proof_verdict.independent, "verify_file", independent)
    file = ALTERED if wrong is None else HONEST
    code, out, _ = run(file)
    assert code == 1
    assert "THE VERIFIERS DISAGREE" in out
