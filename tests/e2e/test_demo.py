"""`make demo` for real: what it writes, what it leaves behind, and how it ends when it is interrupted."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 1800


def start(output: Path) -> "subprocess.Popen[str]":
    """What `make demo` runs once it is set up, by this interpreter and into another folder."""
    dry_run = ["make", "--no-print-directory", "-n", "demo"]
    recipe = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True, check=True)
    _interpreter, *arguments = recipe.stdout.splitlines()[-1].split()
    return subprocess.Popen(
        [sys.executable, *arguments, "--output", str(output)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(output: Path) -> list[str]:
    """Command lines of living processes that name the demo's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(output) in command:
                found.append(command)
    return found


def open_ports(output: Path) -> list[int]:
    """Ports of the demo's coordinator on which somebody still answers."""
    settings = tomllib.loads((output / "coordinator" / "settings.toml").read_text())
    found = []
    for port in (settings["fleet_port"], settings["control_port"], settings["superlink_port"]):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One whole demo, shared by the tests of this file."""
    output = tmp_path_factory.mktemp("demo") / "out"
    process = start(output)
    printed, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, printed[-3000:]
    yield output
    shutil.rmtree(output)


@pytest.fixture(scope="module")
def report(demo: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((demo / "report.json").read_text())
    return parsed


def test_everyone_took_part_in_the_tasks_of_their_role(report: dict[str, Any]) -> None:
    tasks = {row["role"]: set(row["tasks"]) for row in report["participants"]}
    assert tasks == {
        "retailer": {"recommendation", "forecast"},
        "creator": {"recommendation"},
        "smb": {"recommendation", "forecast", "risk"},
        "security": {"risk"},
    }
    assert report["simulated"] == ["risk"]


def test_every_task_was_trained(report: dict[str, Any]) -> None:
    assert {name: task["rounds"] for name, task in report["tasks"].items()} == {
        "forecast": 12,
        "recommendation": 1,
        "risk": 8,
    }
    assert report["tasks"]["forecast"]["dimension"] == report["proofs"]["dimension_max"] == 1361
    assert len(report["tasks"]["risk"]["history"]) == 9
    for name in ("forecast", "risk"):
        metric = report["tasks"][name]["metric"]
        better = metric["final"] > metric["initial"]
        assert better == metric["higher_is_better"], f"{name} did not improve: {metric}"


def test_everyone_enrolled_the_records_of_its_data_bound_tasks(report: dict[str, Any]) -> None:
    enrolled = {(row["participant"], row["task"]) for row in report["datasets"]}
    bound = {name for name, task in report["tasks"].items() if task["mechanism"]["statement"] != "release"}
    assert bound == {"recommendation", "risk"}
    assert enrolled == {
        (member["name"], task)
        for member in report["participants"]
        for task in member["tasks"]
        if task in bound
    }
    for row in report["datasets"]:
        assert row["records"] > 500
        assert row["pages"] == -(-row["records"] // 4088)
        assert row["row_bound"] == report["tasks"][row["task"]]["mechanism"]["row_bound"]


def test_the_dishonest_update_and_no_other_was_rejected(report: dict[str, Any]) -> None:
    proofs = report["proofs"]
    (rejected,) = proofs["rejected"]
    assert rejected["participant"] == "studio-lumen"
    assert rejected["round"] == 1
    assert rejected["check"] == "constraint_identity"
    assert proofs["made"] == proofs["verified"] + 1 == 2 * 12 + 3 + 2 * 8 + 3
    drill = next(row for row in report["rounds"] if row["run"] == rejected["run"])
    assert sorted(drill["accepted"]) == ["corner-supply", "harbour-retail"]


def audit(command: str, path: Path, *options: str) -> int:
    """The exit code of `intertwine audit COMMAND PATH`."""
    arguments = [Path(sys.executable).parent / "intertwine", "audit", command, path, *options]
    return subprocess.run(arguments, capture_output=True, check=False).returncode


def test_privacy_figures_never_claim_more_than_is_known(report: dict[str, Any]) -> None:
    stated: dict[str, set[str]] = {}
    for row in report["privacy"]:
        stated.setdefault(row["task"], set()).add(row["assurance"])
        caught = row["participant"] == "studio-lumen"
        assert (row["epsilon"] == float("inf")) == caught
        assert row["adjacency"] == "zero-out"
        if row["assurance"].endswith("-record") and not caught:
            assert 0 < row["epsilon"] < 6
    assert stated == {
        "forecast": {"proven-participant", "attested-record"},
        "recommendation": {"proven-record"},
        "risk": {"proven-record"},
    }


def test_single_proofs_can_be_judged_by_themselves(demo: Path, report: dict[str, Any]) -> None:
    rejected = "recommendation-drill-rejected.json"
    assert set(report["proof_files"]) == {
        "forecast-accepted.json",
        "recommendation-accepted.json",
        "recommendation-drill-accepted.json",
        rejected,
        "recommendation-records.json",
        "risk-accepted.json",
        "risk-records.json",
    }
    for name in report["proof_files"]:
        assert audit("verify-proof", demo / "proofs" / name) == (1 if name == rejected else 0), name


def test_every_model_is_served_as_it_was_published(demo: Path, report: dict[str, Any]) -> None:
    assert set(report["onnx"]) == {"forecast", "recommendation", "risk"}
    for row in report["onnx"].values():
        assert row["max_abs_difference"] <= 1e-5
        assert Path(row["path"]).is_file()
    served = {(row["participant"], row["task"]): row["sha256"] for row in report["predictions"]}
    assert served == {
        (member["name"], task): report["onnx"][task]["sha256"]
        for member in report["participants"]
        for task in member["tasks"]
    }


def test_the_bundle_verifies_and_an_altered_one_does_not(
    demo: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    assert report["audit"]["verdict"] == "pass"
    assert [check["number"] for check in report["audit"]["checks"]] == list(range(1, 18))
    counted = re.search(r"(\d+) valid, (\d+) rejected as recorded", str(report["audit"]["checks"]))
    assert counted
    assert [int(number) for number in counted.groups()] == [report["proofs"]["verified"], 1]
    assert audit("verify", demo / "demo.bundle", "--no-cache") == 0
    altered, content = tmp_path / "altered", (demo / "demo.bundle").read_bytes()
    altered.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert audit("verify", altered, "--no-cache") == 1
    altered.write_bytes(content[1:])
    assert audit("verify", altered, "--no-cache") == 2


def test_nothing_is_left_running(demo: Path) -> None:
    assert processes_of(demo) == []
    assert open_ports(demo) == []
    assert not (demo / "coordinator" / "up.pid").exists()


def test_no_secret_is_in_a_log_or_in_the_bundle(demo: Path) -> None:
    secrets = [path.read_bytes() for path in demo.rglob("access.token")]
    secrets += [path.read_bytes().hex().encode() for path in demo.rglob("signing.key")]
    secrets += [path.read_bytes().splitlines()[1] for path in demo.rglob("node.key")]
    assert len(secrets) == 4 + 5 + 4
    public = [*demo.rglob("*.log"), *demo.glob("*.*")]
    for path in filter(Path.is_file, public):
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path
    for name in ("access.token", "signing.key", "node.key", "ca.key", "tls.key", "ledger.db"):
        assert {path.stat().st_mode & 0o777 for path in demo.rglob(name)} == {0o600}


def wait_for_line(process: "subprocess.Popen[str]", word: str) -> None:
    """Until the demo prints a line with this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    pytest.fail(f"the demo ended before it printed {word!r}")


def wait_until_gone(output: Path) -> list[str]:
    deadline = time.monotonic() + 30
    while (left := processes_of(output)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def test_control_c_ends_every_process(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_line(process, "redoubt-security")  # the last agent has joined
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert wait_until_gone(output) == []
    assert open_ports(output) == []


def test_a_failure_ends_every_process(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_line(process, "Enrolment")  # the coordinator is up
    os.kill(int((output / "coordinator" / "up.pid").read_text()), signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error:" in printed
    assert "Traceback" not in printed
    assert wait_until_gone(output) == []
    assert open_ports(output) == []
