"""The coordinator's home and servers: renewal of the certificate, what the doctor finds, and a real `up`."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from intertwine.protocols import doctor as shared
from intertwine.protocols.doctor import Finding, examine, healthy
from intertwine.protocols.entries import Revocation
from intertwine.protocols.errors import InputError
from intertwine.server import certificates
from intertwine.server.database import URL_VARIABLE
from intertwine.server.doctor import diagnose, reachable
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.store import Store
from intertwine.server.up import down, running

ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    """Ports that nothing uses."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A coordinator that is fit to be started."""
    fleet, control, superlink = free_ports(3)
    ports = {"fleet_port": fleet, "control_port": control, "superlink_port": superlink}
    home = Home.init(tmp_path / "home", ["fleet.example.org"], ports)
    Store(home, home.signing_key)
    return home


# The certificate


def certificate(home: Home) -> x509.Certificate:
    return x509.load_pem_x509_certificate(home.certificate.read_bytes())


def test_init_without_options_changes_nothing(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    Home.init(home.path, [], {})
    assert {path: path.read_bytes() for path in before} == before


def test_init_with_other_names_renews_under_the_same_ca(home: Home) -> None:
    authority, key = home.authority.read_bytes(), home.certificate_key.read_bytes()
    fleet_port = home.settings.fleet_port
    Home.init(home.path, ["new.example.org", "198.51.100.7"], {"control_port": 9443})
    assert home.certificate_hosts == {"new.example.org", "198.51.100.7", "localhost", "127.0.0.1"}
    assert (home.authority.read_bytes(), home.certificate_key.read_bytes()) == (authority, key)
    certificate(home).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    settings = home.settings
    assert (settings.host, settings.control_port, settings.fleet_port) == (
        "new.example.org",
        9443,
        fleet_port,
    )


def test_a_certificate_that_ends_soon_is_renewed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = certificate(home)
    monkeypatch.setattr(certificates, "RENEWAL", timedelta(days=826))
    Home.init(home.path, [], {})
    after = certificate(home)
    assert after.serial_number != before.serial_number
    assert certificates.certificate_hosts(after) == certificates.certificate_hosts(before)


@pytest.mark.parametrize(
    ("hosts", "choices", "field"),
    [
        (["0.0.0.0"], {}, "host"),  # noqa: S104
        (["not a name"], {}, "host"),
        (["ok.example.org", "-bad-"], {}, "0"),
        ([], {"bind": "fleet.example.org"}, "bind"),
        ([], {"fleet_port": 0}, "fleet_port"),
    ],
)
def test_what_init_refuses_changes_nothing(
    home: Home, hosts: list[str], choices: dict[str, object], field: str
) -> None:
    before = home.settings_file.read_bytes()
    with pytest.raises(InputError, match=f"field {field}"):
        Home.init(home.path, hosts, choices)
    assert home.settings_file.read_bytes() == before


def test_addresses_are_written_as_urls_have_them() -> None:
    settings = CoordinatorSettings(host="2001:db8::1")
    assert settings.fleet_address == "[2001:db8::1]:9092"
    assert settings.control_url == "https://[2001:db8::1]:8443"
    shown = {bind: reachable(bind) for bind in ("0.0.0.0", "::", "::1", "10.0.0.1")}  # noqa: S104
    assert shown == {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]", "10.0.0.1": "10.0.0.1"}  # noqa: S104


# The doctor


def failures(home: Home) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(home) if finding.level == "fail"}


def test_a_good_home_is_healthy(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    findings = diagnose(home)
    assert healthy(findings), findings
    assert [finding.name for finding in findings if finding.level == "warn"] in (["up"], ["disk", "up"])
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    assert {path: path.read_bytes() for path in before} == before


def readable_key(home: Home) -> None:
    home.authority_key.chmod(0o640)


def lost_key(home: Home) -> None:
    home.certificate_key.unlink()


def other_key(home: Home) -> None:
    other = Home.create(home.path.parent / "other", CoordinatorSettings())
    home.certificate_key.write_bytes(other.certificate_key.read_bytes())


def other_authority(home: Home) -> None:
    other = Home.create(home.path.parent / "other", home.settings)
    home.certificate.write_bytes(other.certificate.read_bytes())


def other_host(home: Home) -> None:
    text = home.settings_file.read_text().replace("fleet.example.org", "moved.example.org")
    home.settings_file.write_text(text)


def lost_database(home: Home) -> None:
    home.database.unlink()


def damaged_database(home: Home) -> None:
    home.database.write_bytes(b"no database" * 1000)


def lost_blobs(home: Home) -> None:
    home.blobs.rmdir()


def open_home(home: Home) -> None:
    home.path.chmod(0o755)


def short_key(home: Home) -> None:
    home.signing_key_file.write_bytes(b"short")


def entry_of_tomorrow(home: Home) -> None:
    later = int(time.time()) + 86_400
    Store(home, home.signing_key).record(Revocation(time=later, participant="alder", reason="left"))


def bad_policy(home: Home) -> None:
    home.policy_file.write_text("nonsense\n")


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (readable_key, "ca.key"),
        (lost_key, "tls.key"),
        (other_key, "tls.crt"),
        (other_authority, "tls.crt"),
        (other_host, "names"),
        (lost_database, "database"),
        (damaged_database, "database"),
        (lost_blobs, "blobs"),
        (open_home, "home"),
        (short_key, "signing.key"),
        (entry_of_tomorrow, "clock"),
        (bad_policy, "witnesses"),
    ],
)
def test_what_is_wrong_is_found_with_a_remedy(home: Home, harm: Callable[[Home], None], name: str) -> None:
    harm(home)
    found = failures(home)
    assert name in found
    assert found[name].remedy


def test_a_database_that_is_elsewhere_is_not_made_here(home: Home) -> None:
    """Its URL is missing from the environment: neither the doctor nor a command may begin another one."""
    home.database.unlink()
    home.log_begun.write_text("db.example.org:5432/intertwine")
    for _ in range(2):
        finding = failures(home)["database"]
        assert "was begun in db.example.org" in finding.text
        assert URL_VARIABLE in finding.remedy
        with pytest.raises(InputError, match=r"was begun in db\.example\.org"):
            Store(home, home.signing_key)
        assert not home.database.exists()


def test_remedies_are_a_coordinators(home: Home) -> None:
    short_key(home)
    assert "enrol" not in failures(home)["signing.key"].remedy


def test_a_process_file_that_was_left_behind_names_nobody(home: Home) -> None:
    """Its number may be another program's by now."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        home.process_file.write_text(str(stranger.pid))
        assert running(home) is None
        assert "up" in {finding.name for finding in diagnose(home) if finding.level == "warn"}
        with pytest.raises(InputError, match="not running"):
            down(home)
        assert not home.process_file.exists()
        assert stranger.poll() is None
        stranger.kill()


def test_a_port_that_another_program_uses(home: Home) -> None:
    with socket.create_server(("127.0.0.1", home.settings.superlink_port)):
        assert list(failures(home)) == ["SuperLink"]


def test_a_package_of_another_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "version", lambda name: "9.9.9")
    found = failures(home)
    assert list(found) == ["flwr"]
    assert "1.41.0" in found["flwr"].remedy


def test_a_disk_that_is_full(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FULL_DISK_BYTES", 1 << 60)
    monkeypatch.setattr(shared, "LOW_DISK_BYTES", 1 << 60)
    assert list(failures(home)) == ["disk"]


def test_an_examination_that_cannot_be_made_is_a_failure() -> None:
    def unreadable() -> list[Finding]:
        raise PermissionError(13, "Permission denied")

    ((finding,),) = [examine([("files", unreadable)])]
    assert (finding.name, finding.level) == ("files", "fail")
    assert "Permission denied" in finding.text


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        (2, "ok", "agrees"),
        (-30, "warn", "30 s behind"),
        (-90, "fail", "90 s behind"),
        (30, "fail", "clock is 30 s ahead of the coordinator"),
    ],
)
def test_a_clock_that_is_off(ahead: float, level: str, words: str) -> None:
    (finding,) = shared.clock(ahead, "the coordinator")
    assert finding.level == level
    assert words in finding.text


# The real thing


def intertwine(*words: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("intertwine"), "coordinator", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def up(home: Home) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A running coordinator, and what it logs."""
    log = home.path.parent / "up.log"
    command = [Path(sys.executable).with_name("intertwine"), "coordinator", "up", "--log-format", "json"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--home", str(home.path)], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Ready")
        yield process, log
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def test_a_coordinator_that_runs(home: Home, up: tuple[subprocess.Popen[str], Path]) -> None:
    diagnosis = intertwine("doctor", "--json", "--home", str(home.path))
    assert diagnosis.returncode == 0, diagnosis.stdout + diagnosis.stderr
    levels = {one["name"]: one["level"] for one in json.loads(diagnosis.stdout)}
    assert {levels[name] for name in ("up", "control plane", "Fleet proxy", "SuperLink")} == {"ok"}
    assert levels["public name"] == "warn"  # nobody has it

    context, settings = ssl.create_default_context(cafile=str(home.authority)), home.settings
    with httpx.Client(verify=context, trust_env=False) as client:
        fleet = f"https://127.0.0.1:{settings.fleet_port}"
        # Flower answers an unsigned Fleet request; its other two APIs are not there.
        body = {"content": b"", "headers": {"content-type": "application/protobuf"}}
        assert client.post(f"{fleet}/v1/fleet/pull-messages", **body).status_code == 401
        for path in ("/v1/control/list-runs", "/v1/runtime/acquire-task", "/openapi.json", "/docs"):
            assert client.post(f"{fleet}{path}", **body).status_code == 404
        direct = f"https://{settings.superlink_address}/v1/control/list-runs"
        assert client.post(direct, **body).status_code == 200
        assert client.get(f"https://127.0.0.1:{settings.control_port}/metrics").status_code == 200

    process, log = up
    assert running(home) == process.pid
    second = intertwine("up", "--home", str(home.path))
    assert second.returncode == 2
    assert "is running already" in second.stderr.replace("\n", " ")
    assert running(home) == process.pid
    assert intertwine("stop", "--home", str(home.path)).returncode == 0
    assert process.wait(30) == 0
    assert not home.process_file.exists()
    for line in log.read_text().splitlines():
        assert line.startswith("{"), line
        assert {"level", "logger", "message", "time"} <= set(json.loads(line))
    assert failures(home) == {}
