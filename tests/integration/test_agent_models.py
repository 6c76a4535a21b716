"""The agent towards the control plane: enrolment pins the coordinator, and only a logged model is used."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from deploy.demo.data.simulate import portfolio
from intertwine.client import cli, published
from intertwine.client.control import request
from intertwine.client.enrol import enrol
from intertwine.client.home import Home as AgentHome
from intertwine.client.keys import ask_coordinator
from intertwine.client.predict import predict
from intertwine.client.published import fetch, kept
from intertwine.models.registry import task as find_task
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.entries import Publication, decode_entry
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.model_file import expected_model
from intertwine.protocols.round import RoundId
from intertwine.protocols.settings import write_settings
from intertwine.protocols.signing import SigningKey
from intertwine.server.enrolment import invite
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.store import Store, now
from tests.federation import MemoryFederation
from tests.serving import served


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> MemoryFederation:
    """A coordinator that has published a risk model."""
    root = tmp_path_factory.mktemp("original")
    path = root / "portfolio.csv"
    path.write_text(portfolio("alder", 200, seed=4))
    federation = MemoryFederation(root)
    federation.add("first", {"risk": path})
    parameters = parameters_to_bytes(find_task("risk").initial_parameters())
    publish(federation.store, parameters, expected_model(find_task("risk").template(), parameters, {}))
    return federation


def publish(store: Store, parameters: bytes, model: bytes) -> None:
    """Log a risk model, whatever it is."""
    store.record(
        Publication(
            time=now(),
            round=RoundId(deployment=store.deployment, run="one", task="risk", number=1),
            parameters=store.put_blob(parameters),
            onnx=store.put_blob(model),
        )
    )


@pytest.fixture
def federation(original: MemoryFederation, tmp_path: Path) -> MemoryFederation:
    """The same, for one test."""
    return original.copy(tmp_path)


@pytest.fixture
def data(federation: MemoryFederation) -> Path:
    return federation.root / "portfolio.csv"


@pytest.fixture
def client(federation: MemoryFederation) -> Iterator[httpx.Client]:
    with served(federation.home, federation.store, lambda _key: 77) as client:
        yield client


@pytest.fixture
def agent(tmp_path: Path, data: Path, federation: MemoryFederation, client: httpx.Client) -> AgentHome:
    """An agent that enrolled through the real path."""
    home = AgentHome(tmp_path / "agent")
    token = invite(federation.home, federation.store, "alder", "security", ["risk"], 60)
    enrol(home, str(client.base_url), token, {"risk": data})
    return home


def test_enrolment_makes_a_private_home_and_pins_the_coordinator(
    agent: AgentHome, federation: MemoryFederation
) -> None:
    settings = agent.settings
    assert (settings.participant, settings.role, list(settings.tasks)) == ("alder", "security", ["risk"])
    assert settings.deployment == federation.key.public
    assert agent.authority.read_bytes() == federation.home.authority.read_bytes()
    for secret in (agent.signing_key_file, agent.node_key, agent.access_token, agent.settings_file):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.path.stat().st_mode) == 0o700
    assert federation.store.participant("alder").signing_key == agent.signing_key.public


def test_enrolling_names_the_steps_that_are_left(
    tmp_path: Path, data: Path, federation: MemoryFederation, client: httpx.Client
) -> None:
    token = invite(federation.home, federation.store, "alder", "security", ["risk"], 60)
    words = ["enroll", "--coordinator", str(client.base_url), "--token", token, "--data", f"risk={data}"]
    told = CliRunner().invoke(cli.app, [*words, "--home", str(tmp_path / "agent")]).output
    steps = re.findall("intertwine agent ((?:[a-z]+ )+)", told)
    assert steps == ["dataset commit risk ", "run "]


def test_a_token_of_another_coordinator_pins_nothing(
    tmp_path: Path, data: Path, federation: MemoryFederation, client: httpx.Client
) -> None:
    other = Home.create(
        tmp_path / "other", CoordinatorSettings(host="127.0.0.1", fleet_port=9092, control_port=8443)
    )
    token = invite(other, Store(other, other.signing_key), "alder", "security", ["risk"], 60)
    home = AgentHome(tmp_path / "agent")
    with pytest.raises(FederationError, match="not the coordinator that made this token"):
        enrol(home, str(client.base_url), token, {"risk": data})
    assert not home.authority.exists()
    assert not home.settings_file.exists()
    assert [member.name for member in federation.store.participants()] == ["first"]


def test_an_answer_that_is_lost_is_asked_for_again(
    tmp_path: Path,
    data: Path,
    federation: MemoryFederation,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = invite(federation.home, federation.store, "alder", "security", ["risk"], 60)
    home = AgentHome(tmp_path / "agent")

    def lose(method: str, *arguments: object, **options: object) -> bytes:
        answer = request(method, *arguments, **options)  # type: ignore[arg-type]
        if method == "POST":
            raise FederationError("The answer is lost.")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr("intertwine.client.enrol.request", lose)
        with pytest.raises(FederationError, match="lost"):
            enrol(home, str(client.base_url), token, {"risk": data})
    enrol(home, str(client.base_url), token, {"risk": data})
    assert ask_coordinator(AgentHome.open(home.path))(None).signing_key == home.signing_key.public


def test_a_token_without_a_task_in_common_is_kept(
    tmp_path: Path, data: Path, federation: MemoryFederation, client: httpx.Client
) -> None:
    token = invite(federation.home, federation.store, "alder", "security", ["forecast"], 60)
    home = AgentHome(tmp_path / "agent")
    with pytest.raises(InputError, match="invitation is for forecast") as refused:
        enrol(home, str(client.base_url), token, {"risk": data})
    assert "--data" in refused.value.remedy
    assert not home.path.exists()
    assert [member.name for member in federation.store.participants()] == ["first"]


def test_an_address_without_tls_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="not an HTTPS address"):
        enrol(AgentHome(tmp_path / "agent"), "http://127.0.0.1:1", "itw1_x", {"risk": data})


@pytest.mark.parametrize("lost", ["signing.key", "node.key", "access.token", "ca.crt"])
def test_a_home_that_lacks_a_file_is_not_opened(agent: AgentHome, lost: str) -> None:
    (agent.path / lost).unlink()
    with pytest.raises(InputError, match=f"{lost} is missing"):
        AgentHome.open(agent.path)


def test_a_damaged_ca_is_one_sentence(agent: AgentHome) -> None:
    agent.authority.write_text("no certificate")
    with pytest.raises(InputError, match=r"ca\.crt cannot be used"):
        ask_coordinator(agent)


def test_enrolling_twice_into_one_home_is_refused(agent: AgentHome, data: Path) -> None:
    with pytest.raises(InputError, match="enrolled already"):
        enrol(agent, "https://127.0.0.1:1", "itw1_x", {"risk": data})


def test_a_published_model_predicts_on_own_records(agent: AgentHome, federation: MemoryFederation) -> None:
    prediction = predict(agent, "risk")
    logged = [decode_entry(entry) for entry in federation.store.entries()]
    assert prediction.publication == next(entry for entry in logged if isinstance(entry, Publication))
    assert prediction.model.read_bytes() == federation.store.blob(prediction.publication.onnx)
    shown, explained = prediction.lines[:5], prediction.lines[5:]
    assert [line.split(":")[0] for line in shown] == [line.split(":")[0] for line in explained]
    assert all("log odds" in line for line in explained)


def test_an_altered_model_file_is_not_kept(agent: AgentHome, federation: MemoryFederation) -> None:
    (publication,) = (
        entry for entry in map(decode_entry, federation.store.entries()) if isinstance(entry, Publication)
    )
    path = federation.store.blob_path(publication.onnx)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(VerificationError, match="model_digest"):
        predict(agent, "risk")
    assert list(agent.models.iterdir()) == []


def test_a_logged_model_that_is_not_the_tasks_graph_is_not_kept(
    agent: AgentHome, federation: MemoryFederation
) -> None:
    """Protocol Buffers merge what is appended: a second graph behind the first would add to it."""
    template = find_task("risk").template()
    parameters = parameters_to_bytes(find_task("risk").initial_parameters())
    whole = expected_model(template, parameters, {})
    for parts in ((parameters, whole + template), (bytes(len(parameters)), whole)):
        publish(federation.store, *parts)
        with pytest.raises(VerificationError, match="model_file"):
            predict(agent, "risk")
        assert list(agent.models.iterdir()) == []


def test_a_damaged_local_copy_is_fetched_again(agent: AgentHome) -> None:
    model = predict(agent, "risk").model
    whole = model.read_bytes()
    model.write_bytes(b"damaged")
    assert predict(agent, "risk").model.read_bytes() == whole


def test_an_older_model_than_the_one_kept_is_refused(agent: AgentHome, federation: MemoryFederation) -> None:
    """A coordinator, or whoever stands between, shows an old record: it is signed and logged all the same."""
    definition = find_task("risk")
    older = fetch(agent, definition)
    record = agent.models / "risk.record"
    before = record.read_bytes()
    parameters = parameters_to_bytes(definition.initial_parameters() + 1.0)
    publish(federation.store, parameters, expected_model(definition.template(), parameters, {}))
    newer = fetch(agent, definition)
    assert newer.position > older.position
    after = record.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "request", lambda *_arguments, **_options: before)
        with pytest.raises(VerificationError, match="model_rollback"):
            fetch(agent, definition)
    assert record.read_bytes() == after
    found = kept(agent, definition)
    assert found is not None
    assert found.publication == newer.publication


def test_a_record_that_is_altered_on_the_disk_is_not_believed(agent: AgentHome) -> None:
    definition = find_task("risk")
    assert kept(agent, definition) is None
    fetch(agent, definition)
    record = agent.models / "risk.record"
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"index":', b'"index":1'))
    with pytest.raises(VerificationError, match="log_inclusion"):
        kept(agent, definition)
    fetch(agent, definition)
    assert record.read_bytes() == whole


def test_a_record_under_another_log_key_is_refused(agent: AgentHome) -> None:
    settings = agent.settings
    agent.settings_file.unlink()
    other = settings.model_copy(update={"deployment": SigningKey.generate().public})
    write_settings(agent.settings_file, other)
    with pytest.raises(VerificationError, match="checkpoint_signature"):
        predict(agent, "risk")


def test_a_task_that_was_not_joined(agent: AgentHome) -> None:
    with pytest.raises(InputError, match="has not joined task 'forecast'"):
        predict(agent, "forecast")
