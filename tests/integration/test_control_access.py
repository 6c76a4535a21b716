"""Who may use the control plane, as what, and how often."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from intertwine.client.supernode import create_node_key
from intertwine.protocols.bundle import Bundle
from intertwine.protocols.enrolment import EnrolmentAnswer, EnrolmentRequest, Invitation
from intertwine.protocols.entries import (
    AccessEnded,
    AccessGranted,
    Act,
    InvitationIssued,
    RunStopped,
    decode_entry,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.signing import SigningKey
from intertwine.server import access
from intertwine.server.access import end_grants, grant
from intertwine.server.enrolment import invite
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.launch import launch
from intertwine.server.limits import MOST_BUCKETS, LimitError, Limits, TokenBuckets
from intertwine.server.membership import revoke
from intertwine.server.store import Store
from intertwine.zk.audit import verify_bundle
from tests.federation import MemoryFederation
from tests.serving import served
from tests.toy import write_points

Headers = dict[str, str]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", CoordinatorSettings())


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home, home.signing_key)


@pytest.fixture
def client(home: Home, store: Store) -> Iterator[httpx.Client]:
    with served(home, store, lambda key: 7) as client:
        yield client


def bearer(token: str) -> Headers:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def participant(home: Home, store: Store, client: httpx.Client, tmp_path: Path) -> Headers:
    """The headers of a participant called alder."""
    secret = Invitation.from_token(invite(home, store, "alder", "security", ["risk"], 60)).secret
    node_key = create_node_key(tmp_path / "node.key").decode().strip()
    body = EnrolmentRequest.create(secret, node_key, SigningKey.generate()).encode()
    return bearer(EnrolmentAnswer.decode(client.post("/v1/enrolments", content=body).content).access_token)


def logged(store: Store) -> list[Act]:
    entries = [decode_entry(data) for data in store.entries()]
    return [entry for entry in entries if isinstance(entry, Act)]


def acts(store: Store) -> list[Any]:
    return [entry.act for entry in logged(store)]


# Roles

ORDER = {"participant": "birch-co", "role": "smb", "tasks": ["risk"]}
READING = ["/v1/participants", "/v1/runs", "/v1/bundle"]


@pytest.mark.parametrize("path", READING)
def test_only_auditors_and_coordinators_read(
    store: Store, client: httpx.Client, participant: Headers, path: str
) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path).headers["www-authenticate"] == "Bearer"
    refused = client.get(path, headers=participant)
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    for role in ("auditor", "coordinator"):
        assert client.get(path, headers=bearer(grant(store, "eve", role, 60))).status_code == 200


def test_only_coordinators_administer(store: Store, client: httpx.Client, participant: Headers) -> None:
    before = store.entries()
    auditor = bearer(grant(store, "eve", "auditor", 60))
    for headers, status in (({}, 401), (participant, 403), (auditor, 403)):
        assert client.post("/v1/invitations", json=ORDER, headers=headers).status_code == status
        assert client.post("/v1/runs/x/stop", headers=headers, content=b"").status_code == status
    assert len(store.entries()) == len(before) + 1  # the grant


def test_denials_are_told_to_the_log_without_the_token(
    home: Home, store: Store, participant: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    """As many as it can hold; the path is shown so that it cannot break a line."""
    with served(home, store, lambda key: 7, Limits(denials=TokenBuckets(0.001, 3))) as client:
        client.get("/v1/runs")
        client.post("/v1/runs/x%1by/stop", headers=participant)
        client.get("/v1/runs", headers=bearer("ab" * 32))
        assert client.get("/v1/runs", headers=bearer("ab" * 32)).status_code == 401
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines == [
        "denied to a caller unknown at 127.0.0.1: GET '/v1/runs'",
        "denied to participant alder at 127.0.0.1: POST '/v1/runs/x\\x1by/stop'",
        "denied to a caller unknown at 127.0.0.1: GET '/v1/runs'",
    ]


def test_the_description_has_each_operation_once(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names)) > 15
    for path in ("/healthz", "/readyz"):
        assert client.head(path).status_code == 200


def test_a_grant_is_no_participant(store: Store, client: httpx.Client) -> None:
    headers = bearer(grant(store, "alder", "coordinator", 60))
    assert client.get("/v1/keys", headers=headers).status_code == 403
    assert client.post("/v1/datasets", headers=headers, content=b"{}").status_code == 403
    assert client.get("/v1/models/risk", headers=headers).status_code == 404


def test_the_role_is_the_tables(store: Store, client: httpx.Client) -> None:
    token = grant(store, "eve", "auditor", 60)
    for claimed in (token.upper(), f"coordinator:{token}", f"{token} coordinator", token[:-1]):
        answer = client.post("/v1/invitations", json=ORDER | {"role": "smb"}, headers=bearer(claimed))
        assert answer.status_code in (401, 403)


# Grants


def test_a_grant_is_logged_without_its_token(store: Store) -> None:
    token = grant(store, "eve", "auditor", 60)
    (_, act) = acts(store)
    assert isinstance(act, AccessGranted)
    assert (act.number, act.name, act.role) == (1, "eve", "auditor")
    log = b"".join(store.entries()).decode()
    assert token not in log
    assert access._digest(token) not in log


@pytest.mark.parametrize(("name", "role"), [("Eve!", "auditor"), ("eve", "participant"), ("eve", "root")])
def test_a_grant_that_is_not_admitted_changes_nothing(store: Store, name: str, role: str) -> None:
    before = store.entries()
    with pytest.raises(InputError):
        grant(store, name, role, 60)
    assert store.entries() == before


def test_a_token_ends_with_its_time(store: Store, client: httpx.Client) -> None:
    assert client.get("/v1/runs", headers=bearer(grant(store, "eve", "auditor", -1))).status_code == 401


def test_tokens_are_revoked_by_name(store: Store, client: httpx.Client) -> None:
    first, second = grant(store, "eve", "auditor", 60), grant(store, "eve", "coordinator", 60)
    other = grant(store, "ann", "auditor", 60)
    assert end_grants(store, "eve") == 2
    assert [act.number for act in acts(store) if isinstance(act, AccessEnded)] == [1, 2]
    statuses = [client.get("/v1/runs", headers=bearer(token)).status_code for token in (first, second, other)]
    assert statuses == [401, 401, 200]
    with pytest.raises(InputError, match="no valid access token"):
        end_grants(store, "eve")


def test_a_revoked_participant_is_nobody(store: Store, client: httpx.Client, participant: Headers) -> None:
    assert client.get("/v1/keys", headers=participant).status_code == 200
    revoke(store, "alder", "left", lambda _: None)
    assert client.get("/v1/keys", headers=participant).status_code == 401


# Administration


def test_an_invitation_over_http_is_logged_and_works(store: Store, client: httpx.Client) -> None:
    headers = bearer(grant(store, "ops", "coordinator", 60))
    answer = client.post("/v1/invitations", json=ORDER, headers=headers)
    assert answer.status_code == 201
    assert Invitation.from_token(answer.json()["token"]).participant == "birch-co"
    assert isinstance(acts(store)[-1], InvitationIssued)
    assert [entry.by for entry in logged(store)] == [None, None, "ops"]
    for wrong, status in (({"role": "king"}, 400), ({"hours": -1}, 422), ({"more": 1}, 422)):
        refused = client.post("/v1/invitations", json=ORDER | wrong, headers=headers)
        assert (refused.status_code, set(refused.json())) == (status, {"error", "remedy"})


def test_a_run_is_stopped_over_http(toy: str, tmp_path: Path) -> None:
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "birch-co"), 1):
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 8, seed)})
    store, forgotten = federation.store, []
    launch(store, federation.key, federation.plan(toy, "autumn"), lambda: None)
    headers = bearer(grant(store, "ops", "coordinator", 60))
    with served(federation.home, store, lambda key: 7, forget_driver=forgotten.append) as client:
        stopped = client.post("/v1/runs/autumn/stop", headers=headers, content=b"")
        assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
        assert stopped.json()["detail"] == "stopped by ops"
        assert client.post("/v1/runs/autumn/stop", headers=headers, content=b"").status_code == 400
        (run,) = client.get("/v1/runs", headers=headers).json()
        bundle = client.get("/v1/bundle", params={"run": "autumn"}, headers=headers)
        assert client.get("/v1/bundle", params={"run": "none"}, headers=headers).status_code == 400
    assert run["state"] == "stopped"
    assert acts(store)[-1] == RunStopped(run="autumn")
    assert [row.name for row in forgotten] == ["autumn"]
    path = tmp_path / "over-http.bundle"
    path.write_bytes(bundle.content)
    assert Bundle.open(path).manifest.runs == ["autumn"]
    verdict = verify_bundle(path)
    assert verdict.report is not None
    assert verdict.passed
    assert verdict.report.acts[-1].detail == "run autumn was to end early; ops asked for it"
    assert list(federation.home.path.glob(".bundle-*")) == []


# Limits


def test_buckets_fill_again(monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]
    buckets = TokenBuckets(rate=0.5, burst=2, clock=lambda: time[0])
    buckets.take("a")
    buckets.take("a")
    with pytest.raises(LimitError) as refused:
        buckets.take("a")
    assert refused.value.wait_s == 2
    buckets.take("b")
    time[0] = 2.0
    buckets.take("a")
    with pytest.raises(LimitError):
        buckets.take("a")
    time[0] = 1e9
    for _ in range(2):
        buckets.take("a")
    with pytest.raises(LimitError):
        buckets.take("a")


def test_buckets_take_bounded_memory() -> None:
    buckets = TokenBuckets(rate=1, burst=1, clock=lambda: 0.0)
    for number in range(MOST_BUCKETS + 10):
        buckets.take(number)
    assert len(buckets._buckets) == MOST_BUCKETS
    with pytest.raises(LimitError):
        buckets.take(MOST_BUCKETS)
    buckets.take(0)  # it had given way


def test_neighbours_in_an_ipv6_network_share_a_bucket() -> None:
    limits = Limits(others=TokenBuckets(1, 1))
    limits.admit_address("2001:db8::1", "/v1/ca")
    limits.admit_address("2001:db8:0:1::1", "/v1/ca")
    with pytest.raises(LimitError):
        limits.admit_address("2001:db8::2", "/v1/ca")


@pytest.mark.parametrize(
    ("limits", "request_path"),
    [
        (lambda: Limits(enrolments=TokenBuckets(0.01, 3)), "/v1/enrolments"),
        (lambda: Limits(others=TokenBuckets(0.01, 3)), "/v1/ca"),
        (lambda: Limits(log=TokenBuckets(0.01, 3)), "/v1/log/checkpoint"),
    ],
    ids=["enrolments", "others", "log"],
)
def test_an_address_that_asks_too_often(
    home: Home, store: Store, limits: Callable[[], Limits], request_path: str
) -> None:
    with served(home, store, lambda key: 7, limits()) as client:
        for _ in range(3):
            assert client.get(request_path).status_code != 429
        refused = client.get(request_path)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 90
        assert set(refused.json()) == {"error", "remedy"}
        assert client.get("/healthz" if request_path != "/v1/ca" else "/v1/log/checkpoint").is_success


def test_a_caller_that_asks_too_often(home: Home, store: Store) -> None:
    tokens = [grant(store, name, "auditor", 60) for name in ("eve", "ann")]
    with served(home, store, lambda key: 7, Limits(callers=TokenBuckets(0.01, 2))) as client:
        statuses = [client.get("/v1/runs", headers=bearer(tokens[0])).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert client.get("/v1/runs", headers=bearer(tokens[1])).status_code == 200
        assert client.get("/v1/runs", headers=bearer("0" * 64)).status_code == 401


def test_what_is_not_there_is_an_error_object(client: httpx.Client) -> None:
    for answer, status in ((client.get("/v1/nothing"), 404), (client.delete("/v1/ca"), 405)):
        assert (answer.status_code, set(answer.json())) == (status, {"error", "remedy"})
