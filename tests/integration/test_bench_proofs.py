"""`make bench-proofs` on a case small enough for the test run, and what it says about goals."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.bench import __main__ as bench
from deploy.bench import measure, report
from deploy.bench.cases import CASES, Case

STATED = {
    "statement",
    "dimension",
    "records",
    "prove_cpu_s",
    "prove_wall_s",
    "prove_peak_mb",
    "verify_native_s",
    "verify_independent_s",
    "proof_bytes",
}
FREE = ("training", "training_cpu_s", "records", "prove_cpu_s", "prove_wall_s", "prove_peak_mb")


@pytest.fixture
def row() -> dict[str, Any]:
    """A glm case that meets its goal for proving and misses that for verifying."""
    return {
        "statement": "glm",
        "dimension": 57,
        "records": 4000,
        "proofs": 1,
        "prove_cpu_s": 3.1,
        "prove_wall_s": 3.2,
        "prove_runs": 3,
        "prove_peak_mb": 150.2,
        "verify_native_s": 0.1004,
        "verify_wall_s": 0.1005,
        "verify_independent_s": 1.5,
        "proof_bytes": 4016,
        "training": "<numpy>",
        "training_cpu_s": 0.0003,
        "goals": {"prove_cpu_s": 5.0, "verify_native_s": 0.1},
        "load_before": 0.4,
    }


def test_a_case_is_measured_in_its_own_process(tmp_path: Path) -> None:
    case = Case("statistics", 3, 8, goals={"proof_bytes": 10_000, "prove_cpu_s": 1e-9})
    (measured,) = bench.run([case], tmp_path, Console(quiet=True), budget=0.0)
    assert json.loads((tmp_path / "proofs.json").read_text()) == [measured]
    assert measured.keys() >= STATED
    for key in STATED - {"statement"}:
        assert measured[key] > 0
    assert measured["prove_runs"] == 1
    assert measured["training"] == "counts: numpy sum over the records"
    assert "statistics, 3 × 8" in (tmp_path / "proofs.html").read_text()


def test_the_proofs_of_a_round_are_kept_and_verified_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("release", 3, None, proofs=2)
    monkeypatch.setattr(measure, "MAX_RUNS", 1)
    first = measure.measure(case, 0.0, tmp_path, lambda doing, done: None)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == len(set(kept.values())) == 2
    assert first["proof_bytes"] == sum(map(len, kept.values()))
    path, proof = min(kept.items())
    path.write_bytes(proof[:-1] + bytes([proof[-1] ^ 1]))
    with pytest.raises(RuntimeError, match="a proof is not valid"):
        measure.measure(case, 0.0, tmp_path, lambda doing, done: None)


def test_a_failed_measurement_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        bench.run([Case("release", 0, 8)], tmp_path, Console(quiet=True), budget=0.0)
    assert not (tmp_path / "proofs.json").exists()


def test_goals_are_judged_by_the_figure_and_not_by_its_rounding(row: dict[str, Any]) -> None:
    passed, missed = report.verdicts([row])
    assert str(passed) == "pass  glm, 57 × 4,000: prove, CPU 3.10 s, goal 5.00 s"
    assert str(missed) == "MISS  glm, 57 × 4,000: verify, CPU 100 ms, goal 100 ms"
    row["verify_native_s"] = 0.1
    assert report.verdicts([row])[1].passed


def test_the_page_shows_every_figure_without_scripts_or_addresses(row: dict[str, Any]) -> None:
    together = {**row, "statement": "release", "proofs": 100, **dict.fromkeys(FREE), "goals": {}}
    html = report.render([row, together])
    for text in (
        "3.10 s",
        "150 MB",
        "100 ms (MISS)",
        "4.0 kB",
        "&lt;numpy&gt;",
        "0.3 ms",
        "100 releases together",
    ):
        assert text in html
    assert "<numpy>" not in html
    assert "<script" not in html
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    assert html.count('class="goal"') == 1
    assert html.count('<rect class="prove"') == html.count('<rect class="train"') == 1


def test_the_terminal_table_has_a_line_a_case(row: dict[str, Any]) -> None:
    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(report.table([row, row]))
    assert shown.export_text().count("glm, 57 × 4,000") == 2


def test_every_goal_is_about_a_figure_that_is_measured() -> None:
    assert {key for case in CASES for key in case.goals} <= set(report.FIGURES)


def test_the_process_that_measures_others_is_small() -> None:
    """Its memory is the least that ru_maxrss of a process it starts can say."""
    code = "import sys, deploy.bench.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "flint", "py_arkworks_bls12381"} & set(loaded.stdout.split())
