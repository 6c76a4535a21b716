"""`make bench-audit` at a size small enough for the test run: what is generated, measured, and said of it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from rich.console import Console

from deploy.bench.audit import __main__ as bench
from deploy.bench.audit import report
from deploy.bench.audit.parts import BASELINES, Scale
from deploy.bench.memory import PeakMemory

SMALL = Scale(rounds=2, participants=1, log_entries=5, sample=1)
STATED = {
    "rounds",
    "participants",
    "proofs",
    "seconds_native",
    "seconds_independent_per_proof",
    "log_entries",
    "inclusion_proof_us",
    "bundle_mb",
    "peak_mb",
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder, and the figures, of one small run."""
    folder = tmp_path_factory.mktemp("bench")
    return folder, bench.run(SMALL, folder, Console(quiet=True))


def test_every_stated_figure_is_measured(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, row = measured
    assert json.loads((folder / "audit.json").read_text()) == row
    assert row.keys() >= STATED | set(report.NAMES)
    for key in STATED | set(report.NAMES):
        assert row[key] > 0, key
    assert (row["rounds"], row["participants"], row["proofs"], row["log_entries"]) == (2, 1, 2, 5)


def test_interrupted_generation_goes_on_from_whole_rounds(measured: tuple[Path, dict[str, Any]]) -> None:
    """Without the bundle, and with both rounds, nothing is proven anew, and the bundle is the same."""
    folder, _ = measured
    (bundle,) = folder.glob("cache/*/2x1/bundle")
    before = bundle.read_bytes()
    bundle.unlink()
    command = [sys.executable, "-m", "deploy.bench.audit.measure", "federation"]
    scale = json.dumps({"rounds": 2, "participants": 1})
    kept = {path: path.stat().st_mtime_ns for path in bundle.parent.rglob("*") if path.is_file()}
    subprocess.run([*command, scale, folder / "cache"], check=True, capture_output=True)
    assert bundle.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_tampered_bundle_is_no_benchmark(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = measured
    (bundle,) = folder.glob("cache/*/2x1/bundle")
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    command = [sys.executable, "-m", "deploy.bench.audit.measure", "audit"]
    scale = json.dumps({"rounds": 2, "participants": 1})
    result = subprocess.run([*command, scale, folder / "cache"], check=False, capture_output=True, text=True)
    bundle.write_bytes(whole)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "it fails its audit" in result.stderr
    assert result.stderr.endswith("Remove it and run the benchmark again.\n")


def test_goals_and_baselines_are_shown(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, row = measured
    html = (folder / "audit.html").read_text()
    shown = list(report.lines(row | {"seconds_native": 1e6, "inclusion_proof_us": 10.0}))
    assert shown[1].startswith("MISS")
    assert shown[2].startswith("pass")
    assert "root from all leaves" in shown[2]
    assert html.count('class="goal"') == len(row["goals"]) == len(BASELINES)
    assert html.count('<rect class="prove"') == html.count('<rect class="train"') == len(BASELINES)
    for name in report.NAMES.values():
        assert f"<th>{escape(name)}</th>" in html
    assert "<script" not in html
    assert "https://" not in html


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--log-entries", "3"], ["--participants", "ten"]])
def test_unusable_size(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "deploy.bench.audit", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert "is not a whole number of at least" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system tells no memory")
def test_memory_is_that_of_the_whole_tree() -> None:
    """A process that does little, whose child holds 64 MB."""
    child = "import time; held = b'x' * (64 << 20); time.sleep(0.6)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with PeakMemory() as memory, subprocess.Popen([sys.executable, "-c", parent]) as process:
        memory.watch(process.pid)
        process.wait()
    assert memory.peak_mb is not None
    assert 67 < memory.peak_mb < 160


def test_memory_of_a_process_that_has_ended_is_unknown() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with PeakMemory() as memory:
        memory.watch(process.pid)
        time.sleep(0.2)
    assert memory.peak_mb is None


def test_the_process_that_measures_others_is_small() -> None:
    code = "import sys, deploy.bench.audit.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "flint", "py_arkworks_bls12381"} & set(loaded.stdout.split())
