"""`intertwine agent doctor`: a healthy agent, and each thing that can be wrong, with its remedy."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

from intertwine.client import cli
from intertwine.client.budget import Spent
from intertwine.client.contact import obstacle
from intertwine.client.doctor import diagnose
from intertwine.client.enrol import enrol
from intertwine.client.home import Home
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.supernode import create_node_key
from intertwine.protocols.accounting import Assurance, Guarantee
from intertwine.protocols.doctor import Finding, healthy
from intertwine.protocols.files import write_private
from intertwine.protocols.settings import write_settings
from intertwine.protocols.signing import SigningKey
from intertwine.server.enrolment import invite
from intertwine.server.home import CoordinatorSettings
from intertwine.server.home import Home as CoordinatorHome
from intertwine.server.store import RevocationRow
from tests.federation import MemoryFederation
from tests.serving import served
from tests.toy import register, write_points


@dataclass
class Scene:
    home: Home
    federation: MemoryFederation


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An agent whose coordinator answers; the control plane stands in for the Fleet port."""
    root = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as patch:
        toy, federation, home = register(patch), MemoryFederation(root), Home(root / "agent")
        data = write_points(root / "points.csv", 12, seed=1)
        with served(federation.home, federation.store, lambda _key: 77) as client:
            token = invite(federation.home, federation.store, "cedar", "security", [toy], 60)
            settings = enrol(home, str(client.base_url), token, {toy: data})
            port = client.base_url.port
            settings = settings.model_copy(update={"fleet_address": f"127.0.0.1:{port}"})
            write_settings(home.settings_file, settings)
            yield Scene(home, federation)


@pytest.fixture
def home(scene: Scene, tmp_path: Path) -> Home:
    """The agent's home, for one test."""
    shutil.copytree(scene.home.path, tmp_path / "agent")
    return Home(tmp_path / "agent")


def failures(home: Home) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(home) if finding.level == "fail"}


def change(home: Home, **values: object) -> None:
    write_settings(home.settings_file, home.settings.model_copy(update=values))


def change_task(home: Home, **values: object) -> None:
    task = home.settings.tasks["toy"].model_copy(update=values)
    change(home, tasks={"toy": task})


def test_a_good_home_is_healthy_and_stays_as_it_is(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    findings = diagnose(home)
    assert healthy(findings), findings
    assert {finding.name for finding in findings if finding.level == "warn"} - {"disk"} == {"records of toy"}
    names = {finding.name for finding in findings if finding.level == "ok"}
    assert {"data of toy", "ledger", "budget of toy"} <= names
    assert {"control plane", "clock", "Fleet port", "membership"} <= names
    assert {path: path.read_bytes() for path in before} == before


def readable_key(home: Home) -> None:
    home.signing_key_file.chmod(0o644)


def lost_key(home: Home) -> None:
    home.node_key.unlink()


def empty_signing_key(home: Home) -> None:
    home.signing_key_file.write_bytes(b"")


def other_signing_key(home: Home) -> None:
    SigningKey.generate().write(home.signing_key_file)


def empty_node_key(home: Home) -> None:
    home.node_key.write_bytes(b"")


def other_node_key(home: Home) -> None:
    create_node_key(home.node_key)


def empty_token(home: Home) -> None:
    home.access_token.write_bytes(b"")


def other_token(home: Home) -> None:
    home.access_token.write_text("ab" * 32)


def bad_api_keys(home: Home) -> None:
    write_private(home.api_keys, b"nonsense")


def readable_api_keys(home: Home) -> None:
    ApiKeys(home.api_keys).add("app")
    home.api_keys.chmod(0o644)


def lost_ledger(home: Home) -> None:
    home.ledger.unlink()


def damaged_ledger(home: Home) -> None:
    data = bytearray(home.ledger.read_bytes())
    data[4096:8192] = bytes(4096)
    home.ledger.write_bytes(data)


def lost_data(home: Home) -> None:
    change_task(home, data=home.path / "gone.csv")


def other_authority(home: Home) -> None:
    other = CoordinatorHome.create(home.path.parent / "other", CoordinatorSettings())
    home.authority.write_bytes(other.authority.read_bytes())


def coordinator_away(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    change(home, control_url=f"https://127.0.0.1:{port}")


def fleet_away(home: Home) -> None:
    change(home, fleet_address="127.0.0.1:9")


def no_task(home: Home) -> None:
    change(home, tasks={})


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (readable_key, "signing.key"),
        (lost_key, "node.key"),
        (empty_signing_key, "signing.key"),
        (other_signing_key, "membership"),
        (empty_node_key, "node.key"),
        (other_node_key, "node.key"),
        (empty_token, "access.token"),
        (other_token, "membership"),
        (bad_api_keys, "api-keys.toml"),
        (readable_api_keys, "api-keys.toml"),
        (lost_ledger, "ledger.db"),
        (damaged_ledger, "ledger"),
        (lost_data, "data of toy"),
        (no_task, "data"),
        (other_authority, "control plane"),
        (coordinator_away, "control plane"),
        (fleet_away, "Fleet port"),
    ],
)
def test_what_is_wrong_is_found_with_a_remedy(home: Home, harm: Callable[[Home], None], name: str) -> None:
    harm(home)
    found = failures(home)
    assert name in found
    assert all(finding.remedy for finding in found.values())


def test_a_task_that_is_not_installed_costs_the_others_no_finding(home: Home) -> None:
    toy = home.settings.tasks["toy"]
    change(home, tasks={"absent": toy, "toy": toy})
    assert failures(home).keys() == {"data of absent"}
    assert {"budget of absent", "budget of toy", "records of toy"} <= {found.name for found in diagnose(home)}


def test_a_revoked_agent_is_told(scene: Scene, home: Home) -> None:
    store = scene.federation.store
    with store.transaction() as session:
        session.add(RevocationRow(participant="cedar"))
    try:
        assert "revoked" in failures(home)["membership"].remedy
    finally:
        with store.transaction() as session:
            session.execute(delete(RevocationRow))


@pytest.mark.parametrize(("off_s", "level"), [(30, "fail"), (-30, "warn"), (-400, "fail")])
def test_a_clock_that_differs_from_the_coordinators(
    home: Home, monkeypatch: pytest.MonkeyPatch, off_s: int, level: str
) -> None:
    def answer(_url: str, **_options: object) -> httpx.Response:
        return httpx.Response(200, headers={"date": formatdate(time.time() - off_s, usegmt=True)})

    monkeypatch.setattr("intertwine.client.contact.httpx.get", answer)
    (clock,) = [finding for finding in diagnose(home) if finding.name == "clock"]
    assert (clock.level, "ahead" in clock.text) == (level, off_s > 0)


def test_what_keeps_the_supernode_from_connecting_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert obstacle(home) is None
    home.access_token.write_text("ab" * 32)
    assert named(home) == "membership"
    other_authority(home)
    assert named(home) == "Fleet port"
    fleet_away(home)
    assert named(home) == "Fleet port"
    off = {"date": formatdate(time.time() + 3600, usegmt=True)}
    monkeypatch.setattr(
        "intertwine.client.contact.httpx.get", lambda *_, **__: httpx.Response(200, headers=off)
    )
    assert named(home) == "clock"


def named(home: Home) -> str:
    found = obstacle(home)
    assert found is not None
    assert found.remedy
    return found.name


def test_a_budget_that_is_used_up_is_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [Spent("toy", level, 3, Guarantee(12.0, 1e-5, 0.0)) for level in Assurance]
    monkeypatch.setattr("intertwine.client.doctor.spent", lambda *_: costs)
    (budget,) = [finding for finding in diagnose(home) if finding.name == "budget of toy"]
    assert (budget.level, budget.text) == ("warn", "epsilon 12.00 of 10 is spent")
    assert "max_epsilon" in budget.remedy


def test_the_command_prints_json_and_exits_with_1_if_anything_fails(home: Home) -> None:
    words = ["doctor", "--json", "--home", str(home.path)]
    shown = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert shown.exit_code == 0
    assert {"name", "level", "text", "remedy"} == set(json.loads(shown.stdout)[0])
    home.node_key.unlink()
    assert CliRunner().invoke(cli.app, words[:1] + words[2:], catch_exceptions=False).exit_code == 1
