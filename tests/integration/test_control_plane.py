"""Enrolment and the control plane, served by the real server over TLS."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from intertwine.client.supernode import create_node_key
from intertwine.protocols.enrolment import (
    EnrolmentAnswer,
    EnrolmentRequest,
    Invitation,
    authority_fingerprint,
)
from intertwine.protocols.entries import Act, Enrolment, InvitationsEnded, decode_entry
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.signing import SigningKey
from intertwine.server.control import MAX_BODY_BYTES
from intertwine.server.enrolment import enrol, invite, open_invitations, withdraw
from intertwine.server.fleet_proxy import enrolled_node
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.membership import revoke
from intertwine.server.store import Store, now
from tests.serving import served

SETTINGS = CoordinatorSettings(host="127.0.0.1", fleet_port=9092, control_port=8443)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", SETTINGS)


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home, home.signing_key)


@pytest.fixture
def client(home: Home, store: Store) -> Iterator[httpx.Client]:
    with served(home, store, lambda key: 2**64 - 1) as client:
        yield client


@pytest.fixture
def node_key(tmp_path: Path) -> str:
    return create_node_key(tmp_path / "node.key").decode().strip()


def token(home: Home, store: Store, name: str = "alder", seconds: int = 60) -> str:
    return Invitation.from_token(invite(home, store, name, "security", ["risk"], seconds)).secret


def test_enrolment_uses_up_the_token_and_is_logged(
    home: Home, store: Store, client: httpx.Client, node_key: str
) -> None:
    secret, key = token(home, store), SigningKey.generate()
    answer = client.post("/v1/enrolments", content=EnrolmentRequest.create(secret, node_key, key).encode())
    assert answer.status_code == 201
    parsed = EnrolmentAnswer.decode(answer.content)
    assert (parsed.participant, parsed.role, parsed.tasks) == ("alder", "security", ["risk"])
    entry = decode_entry(store.entries()[-1])
    assert isinstance(entry, Enrolment)
    assert entry.signing_key == key.public
    assert int(store.participant("alder").node_id) == 2**64 - 1
    assert secret not in store.entries()[-1].decode()

    again = client.post(
        "/v1/enrolments", content=EnrolmentRequest.create(secret, node_key, SigningKey.generate()).encode()
    )
    assert again.status_code == 400
    assert "used already" in again.json()["error"]
    assert len(store.entries()) == 3  # with the log's creation and the invitation


def test_a_node_is_known_by_its_key_until_its_participant_is_revoked(
    home: Home, store: Store, node_key: str, tmp_path: Path
) -> None:
    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
    enrol(home, store, request, lambda _key: 7)
    key, stranger = (
        load_ssh_public_key(each.encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for each in (node_key, create_node_key(tmp_path / "other.key").decode())
    )
    assert enrolled_node(store, key)
    assert not enrolled_node(store, stranger)
    revoke(store, "alder", "it left", lambda _node: None)
    assert not enrolled_node(store, key)


def test_a_lost_answer_is_given_again(home: Home, store: Store, client: httpx.Client, node_key: str) -> None:
    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate()).encode()
    lost, answer = (client.post("/v1/enrolments", content=request) for _ in range(2))
    assert answer.status_code == 201
    void, valid = (EnrolmentAnswer.decode(each.content).access_token for each in (lost, answer))
    for secret, status in ((void, 401), (valid, 404)):
        headers = {"authorization": f"Bearer {secret}"}
        assert client.get("/v1/models/risk", headers=headers).status_code == status
    assert len(store.entries()) == 3  # nothing was logged twice


def test_no_answer_is_given_again_after_the_tokens_time_or_a_revocation(
    home: Home, store: Store, node_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
    enrol(home, store, request, lambda _key: 7)
    digest = store.participant("alder").access_digest
    with monkeypatch.context() as later:
        later.setattr("intertwine.server.enrolment.now", lambda: now() + 61)
        with pytest.raises(InputError, match="expired"):
            enrol(home, store, request, lambda _key: 7)
    revoke(store, "alder", "it left", lambda _node: None)
    with pytest.raises(VerificationError, match="revoked"):
        enrol(home, store, request, lambda _key: 7)
    assert store.participant("alder").access_digest == digest


def test_an_unknown_token(store: Store, client: httpx.Client, node_key: str) -> None:
    request = EnrolmentRequest.create("0" * 64, node_key, SigningKey.generate())
    answer = client.post("/v1/enrolments", content=request.encode())
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "The invitation token is not known here.",
        "remedy": "Ask the coordinator for a new invitation.",
    }
    assert store.participants() == []


def test_an_expired_token(home: Home, store: Store, client: httpx.Client, node_key: str) -> None:
    request = EnrolmentRequest.create(token(home, store, seconds=-1), node_key, SigningKey.generate())
    answer = client.post("/v1/enrolments", content=request.encode())
    assert answer.status_code == 400
    assert "expired" in answer.json()["error"]


def test_a_withdrawn_token(home: Home, store: Store, client: httpx.Client, node_key: str) -> None:
    secrets = [token(home, store), token(home, store)]
    bystander = token(home, store, "birch-co")
    assert [row.participant for row in open_invitations(store)] == ["alder", "alder", "birch-co"]
    assert withdraw(store, "alder") == 2
    assert [row.participant for row in open_invitations(store)] == ["birch-co"]
    entry = decode_entry(store.entries()[-1])
    assert isinstance(entry, Act)
    assert entry.act == InvitationsEnded(number=3, participant="alder")
    for secret in secrets:
        request = EnrolmentRequest.create(secret, node_key, SigningKey.generate())
        answer = client.post("/v1/enrolments", content=request.encode())
        assert answer.status_code == 400
        assert "withdrawn" in answer.json()["error"]
    before = store.entries()
    with pytest.raises(InputError, match="no invitation"):
        withdraw(store, "alder")
    assert store.entries() == before
    for name, secret in (("birch-co", bystander), ("alder", token(home, store))):
        key = create_node_key(home.path / f"{name}.key").decode().strip()
        request = EnrolmentRequest.create(secret, key, SigningKey.generate())
        assert client.post("/v1/enrolments", content=request.encode()).status_code == 201
    assert open_invitations(store) == []
    with pytest.raises(InputError, match="coordinator revoke alder"):
        withdraw(store, "alder")


def test_a_key_that_its_sender_does_not_hold(
    home: Home, store: Store, client: httpx.Client, node_key: str
) -> None:
    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
    stolen = request.model_copy(update={"signing_key": SigningKey.generate().public})
    answer = client.post("/v1/enrolments", content=stolen.encode())
    assert answer.status_code == 400
    assert store.participants() == []


def test_a_key_of_another_participant(home: Home, store: Store, client: httpx.Client, node_key: str) -> None:
    key = SigningKey.generate()
    for name, status in (("alder", 201), ("birch", 400)):
        request = EnrolmentRequest.create(token(home, store, name), node_key, key)
        assert client.post("/v1/enrolments", content=request.encode()).status_code == status


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"{}", 400),
        ({}, b"not json", 400),
        ({}, b"[" * 5000, 400),
        ({}, b"x" * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_bad_bodies(client: httpx.Client, headers: dict[str, str], content: bytes, status: int) -> None:
    answer = client.post("/v1/enrolments", content=content, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}


def test_a_body_of_undeclared_length(client: httpx.Client) -> None:
    answer = client.post("/v1/enrolments", content=iter([b"x" * 10]))
    assert answer.status_code == 411


def test_models_need_an_access_token_and_a_publication(
    home: Home, store: Store, client: httpx.Client, node_key: str
) -> None:
    assert client.get("/v1/models/risk").status_code == 401
    assert client.get("/v1/models/risk", headers={"authorization": "Bearer 00"}).status_code == 401
    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
    answer = EnrolmentAnswer.decode(client.post("/v1/enrolments", content=request.encode()).content)
    mine = {"authorization": f"Bearer {answer.access_token}"}
    assert client.get("/v1/models/risk", headers=mine).status_code == 404


def test_an_unexpected_failure_shows_no_detail(home: Home, store: Store, node_key: str) -> None:
    def broken(_key: bytes) -> int:
        raise RuntimeError("secret detail")

    with served(home, store, broken) as client:
        request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
        answer = client.post("/v1/enrolments", content=request.encode())
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert store.participants() == []


def test_a_superlink_that_is_away_does_not_use_up_the_token(
    home: Home, store: Store, client: httpx.Client, node_key: str
) -> None:
    def away(_key: bytes) -> int:
        raise FederationError("The SuperLink does not answer.", "Start it.")

    request = EnrolmentRequest.create(token(home, store), node_key, SigningKey.generate())
    with served(home, store, away) as broken:
        assert broken.post("/v1/enrolments", content=request.encode()).status_code == 503
    assert client.post("/v1/enrolments", content=request.encode()).status_code == 201


def test_health_and_certificate(home: Home, client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    served_by_it = authority_fingerprint(client.get("/v1/ca").content)
    assert served_by_it == authority_fingerprint(home.authority.read_bytes())


def test_invitations_are_checked(home: Home, store: Store) -> None:
    with pytest.raises(InputError, match="Role 'king'"):
        invite(home, store, "alder", "king", ["risk"], 60)
    with pytest.raises(InputError, match="nonsense"):
        invite(home, store, "alder", "smb", ["nonsense"], 60)
    with pytest.raises(InputError, match="participant"):
        invite(home, store, "Not A Name", "smb", ["risk"], 60)
    with pytest.raises(InputError, match="tasks"):
        invite(home, store, "alder", "smb", [], 60)


def test_init_is_safe_to_run_twice_and_keeps_secrets_private(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    Home.create(home.path, SETTINGS)
    assert {path: path.read_bytes() for path in before} == before
    for secret in (home.signing_key_file, home.authority_key, home.certificate_key):
        assert secret.stat().st_mode & 0o777 == 0o600


def test_what_is_secret_stays_private_in_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    home = Home.create(tmp_path / "open", SETTINGS)
    store = Store(home, home.signing_key)
    with store.reading() as session:
        session.connection()
        files = list(home.path.glob("coordinator.db*"))
        assert {file.suffix for file in files} == {".db", ".db-wal", ".db-shm"}
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_a_home_that_was_open_is_closed_again(home: Home) -> None:
    home.path.chmod(0o755)
    Home.init(home.path, [], {})
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_an_open_folder_with_files_in_it_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "letter").touch()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(InputError, match="Others may enter") as refused:
        Home.create(tmp_path / "open", SETTINGS)
    assert "chmod 700" in refused.value.remedy
    assert [path.name for path in (tmp_path / "open").iterdir()] == ["letter"]


@pytest.mark.parametrize("lost", ["signing.key", "ca.crt"])
def test_a_lost_key_is_not_replaced_by_another(home: Home, store: Store, lost: str) -> None:
    (home.path / lost).unlink()
    for open_home in (lambda: Home.init(home.path, [], {}), lambda: Home.open(home.path)):
        with pytest.raises(InputError, match=f"{lost} is missing") as refused:
            open_home()
        assert "from a backup" in refused.value.remedy
    assert not (home.path / lost).exists()
    assert store.size() == 1


@pytest.mark.parametrize("damaged", ["tls.crt", "tls.key"])
def test_what_init_cannot_read_is_one_sentence(home: Home, damaged: str) -> None:
    (home.path / damaged).write_text("damaged")
    with pytest.raises(InputError, match=damaged):
        Home.init(home.path, ["new.example.org"], {})


def test_the_ca_can_be_replaced(home: Home, store: Store) -> None:
    before = home.authority.read_bytes()
    for path in (home.authority, home.authority_key, home.certificate, home.certificate_key):
        path.unlink()
    Home.init(home.path, [], {})
    assert Home.open(home.path).authority.read_bytes() != before
    assert store.size() == 1


def test_a_full_disk_at_the_coordinator_is_one_sentence(store: Store) -> None:
    before = store.entries()
    with store.transaction() as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(InputError, match="full"):
        store.record(
            Enrolment(
                time=0,
                participant="alder",
                role="smb",
                tasks=["x" * 60] * 2000,
                signing_key="0" * 64,
                node_key="0" * 64,
            )
        )
    assert store.entries() == before
