"""Killing real processes: one SIGKILL of each kind while a run goes on (`make bench-faults`: a hundred)."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_federation_survives_a_kill_of_each_of_its_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.bench.faults", "--kills", "1", "--output", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads((tmp_path / "faults.json").read_text())
    assert figures["kills"] == 5
    assert figures["runs_completed"] >= 1
    assert figures["audit_passed"]
    for lost in ("runs_failed", "lost_rounds", "double_published", "budget_mismatches"):
        assert figures[lost] == 0
    assert set(figures["recovery_s"]) == {"SuperLink", "control plane", "server app", "SuperNode", "agent"}
