"""A user's mistakes: one clear sentence, the documented exit code, no traceback, nothing half-written."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.demo.data.simulate import portfolio
from intertwine.client.home import AgentSettings, TaskSettings
from intertwine.client.home import Home as AgentHome
from intertwine.protocols.cli import main
from intertwine.protocols.enrolment import Invitation
from intertwine.protocols.entries import PlanEntry, decode_entry
from intertwine.protocols.settings import write_settings
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.store import Store

Run = Callable[..., tuple[int, str]]

GOOD_TOKEN = Invitation(participant="alder", tasks=["risk"], authority="0" * 64, secret="1" * 64).token()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command in this process; returns exit code and everything it printed."""

    def invoke(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["intertwine", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        printed = capsys.readouterr()
        text = " ".join((printed.out + printed.err).split())
        assert "Traceback" not in text
        return code, text

    return invoke


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def good_data(tmp_path: Path) -> Path:
    path = tmp_path / "portfolio.csv"
    path.write_text(portfolio("alder", 60, seed=3))
    return path


def enrol(home: Path, port: int, data: Path, token: str = GOOD_TOKEN) -> tuple[object, ...]:
    address = f"https://127.0.0.1:{port}"
    return (
        *("agent", "enroll", "--coordinator", address, "--token", token),
        *("--data", f"risk={data}", "--home", home),
    )


def test_a_data_file_with_a_missing_column(run: Run, tmp_path: Path, free_port: int, good_data: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(good_data.read_text().replace("cvss_vector", "something", 1))
    code, text = run(*enrol(tmp_path / "home", free_port, bad))
    assert code == 2
    assert "cvss_vector" in text
    assert "bad.csv" in text
    assert not (tmp_path / "home").exists()


def test_a_damaged_token(run: Run, tmp_path: Path, free_port: int, good_data: Path) -> None:
    code, text = run(*enrol(tmp_path / "home", free_port, good_data, GOOD_TOKEN[:-7]))
    assert code == 2
    assert "token is damaged" in text
    assert not (tmp_path / "home").exists()


def test_a_coordinator_that_is_not_there(run: Run, tmp_path: Path, free_port: int, good_data: Path) -> None:
    code, text = run(*enrol(tmp_path / "home", free_port, good_data))
    assert code == 1
    assert "cannot be reached" in text
    assert not (tmp_path / "home" / "settings.toml").exists()


@pytest.mark.parametrize(
    "command", [["run"], ["budget"], ["predict", "risk"], ["dataset", "commit", "risk"], ["dataset", "list"]]
)
def test_an_agent_that_is_not_enrolled(run: Run, tmp_path: Path, command: list[str]) -> None:
    code, text = run("agent", *command, "--home", tmp_path)
    assert code == 2
    assert "intertwine agent enroll" in text


@pytest.mark.parametrize(
    ("task", "part"), [("weather", "no data for task 'weather'"), ("forecast", "nothing to enrol")]
)
def test_a_task_without_records_to_enrol(run: Run, tmp_path: Path, task: str, part: str) -> None:
    home = AgentHome(tmp_path)
    settings = AgentSettings(
        participant="alder",
        role="smb",
        deployment="0" * 64,
        log_origin="log",
        fleet_address="127.0.0.1:1",
        control_url="https://127.0.0.1:1",
        tasks={"forecast": TaskSettings(data=tmp_path / "units.csv")},
    )
    write_settings(home.settings_file, settings)
    for path in (home.signing_key_file, home.node_key, home.access_token, home.authority):
        path.touch()
    code, text = run("agent", "dataset", "commit", task, "--home", tmp_path)
    assert code == 2
    assert part in text
    assert not home.ledger.exists()


@pytest.mark.parametrize("taken", ["fleet_port", "control_port", "superlink_port"])
def test_a_port_in_use(run: Run, tmp_path: Path, taken_port: int, free_port: int, taken: str) -> None:
    ports = {"fleet_port": free_port, "control_port": free_port + 1, "superlink_port": free_port + 2}
    ports[taken] = taken_port
    Home.create(tmp_path / "home", CoordinatorSettings(host="127.0.0.1", **ports))
    code, text = run("coordinator", "up", "--home", tmp_path / "home")
    assert code == 2
    assert f"Port {taken_port}" in text
    assert not (tmp_path / "home" / "up.pid").exists()


@pytest.fixture
def coordinator(tmp_path: Path, free_port: int) -> Path:
    home = tmp_path / "coordinator"
    Home.create(home, CoordinatorSettings(host="127.0.0.1", fleet_port=free_port, control_port=free_port))
    return home


def test_coordinator_commands_without_a_home(run: Run, tmp_path: Path) -> None:
    code, text = run("coordinator", "status", "--home", tmp_path)
    assert code == 2
    assert "intertwine coordinator init" in text


def test_a_second_init_says_what_it_changes(run: Run, coordinator: Path) -> None:
    assert "it was" not in run("coordinator", "init", "--home", coordinator)[1]
    code, text = run("coordinator", "init", "--host", "new.example.org", "--home", coordinator)
    assert code == 0
    assert "host: new.example.org; it was 127.0.0.1." in text
    assert "certificate: 127.0.0.1, localhost, new.example.org; it was 127.0.0.1, localhost." in text
    assert "Restart `up`" in text


def test_stopping_what_does_not_run(run: Run, coordinator: Path) -> None:
    assert run("coordinator", "stop", "--home", coordinator)[0] == 2
    code, text = run("coordinator", "stop", "nothing", "--home", coordinator)
    assert code == 2
    assert "no run 'nothing'" in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["alder", "--role", "king", "--task", "risk"], "retailer, creator, smb, security"),
        (["alder", "--role", "smb", "--task", "weather"], "weather"),
        (["alder", "--role", "smb", "--tasks", "risk,"], "''"),
        (["Not A Name", "--role", "smb", "--task", "risk"], "participant"),
    ],
)
def test_bad_invitations(run: Run, coordinator: Path, arguments: list[str], part: str) -> None:
    code, text = run("coordinator", "invite", *arguments, "--home", coordinator)
    assert code == 2
    assert part in text


@pytest.mark.parametrize("tasks", [["--task", "risk", "--task", "forecast"], ["--tasks", "forecast, risk"]])
def test_an_invitation_names_its_tasks(run: Run, coordinator: Path, tasks: list[str]) -> None:
    code, text = run("coordinator", "invite", "birch", "--role", "smb", *tasks, "--home", coordinator)
    assert code == 0
    assert Invitation.from_token(text.strip()).tasks == ["forecast", "risk"]


def test_invitations_are_shown_until_they_are_withdrawn(run: Run, coordinator: Path) -> None:
    for _ in range(2):
        invite = ("coordinator", "invite", "cedar", "--role", "smb", "--task", "risk")
        assert run(*invite, "--home", coordinator)[0] == 0
    assert run("coordinator", "status", "--home", coordinator)[1].count("invited until") == 2
    code, text = run("coordinator", "withdraw", "cedar", "--home", coordinator)
    assert (code, "2 invitation(s) of cedar are void" in text) == (0, True)
    assert "cedar" not in run("coordinator", "status", "--home", coordinator)[1]
    code, text = run("coordinator", "withdraw", "cedar", "--home", coordinator)
    assert (code, "no invitation" in text) == (2, True)


def test_bad_launches(run: Run, coordinator: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    launch = ("coordinator", "launch", "risk", "--run", "one", "--home", coordinator)

    assert run(*launch)[0] == 2  # nobody is enrolled
    plan.write_text("rounds = = 2")
    code, text = run(*launch, "--plan", plan)
    assert code == 2
    assert "plan.toml is not valid TOML" in text
    plan.write_text("dimension = 1361\n")
    code, text = run(*launch, "--plan", plan)
    assert code == 2
    assert "dimension" in text
    code, text = run("coordinator", "launch", "weather", "--run", "one", "--home", coordinator)
    assert code == 2
    assert "forecast" in text
    home = Home.open(coordinator)
    logged = [decode_entry(data) for data in Store(home, home.signing_key).entries()]
    assert not any(isinstance(entry, PlanEntry) for entry in logged)


def test_a_settings_file_with_a_wrong_field(run: Run, coordinator: Path) -> None:
    (coordinator / "settings.toml").write_text('host = "127.0.0.1"\nfleet_port = 99999\ncontrol_port = 1\n')
    code, text = run("coordinator", "up", "--home", coordinator)
    assert code == 2
    assert "fleet_port" in text


def test_a_bundle_that_is_not_there(run: Run, tmp_path: Path) -> None:
    code, text = run("audit", "verify", tmp_path / "nothing")
    assert code == 2
    assert "nothing" in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["agent", "nonsense"], ["audit", "verify"]])
def test_unknown_commands_and_missing_arguments(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_a_role_whose_extra_is_not_installed() -> None:
    script = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['intertwine', 'coordinator', 'status'];"
        "from intertwine.protocols.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert 'pip install --constraint deploy/constraints.txt ".[coordinator]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_an_old_python_is_refused_with_the_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 2\n")  # what the version check answers on any other version
    old.chmod(0o755)
    root = Path(__file__).parents[2]
    result = subprocess.run(
        ["make", "-C", root, "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "needs Python 3.11" in result.stderr
    assert not (tmp_path / "venv").exists()
