"""The public way to the SuperLink: what passes, what does not, and that nothing can be held up for ever."""

import asyncio
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from intertwine.protocols import patience
from intertwine.server import fleet_proxy
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.limits import Limits, TokenBuckets
from intertwine.server.up import https_server, serving

GOOD = "/v1/fleet/pull-messages"
NODE, STRANGER = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
LARGE = b"x" * (fleet_proxy.SMALL_BODY_BYTES + 1)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """A request's headers as Flower's nodes send them."""
    time = "2026-01-01T00:00:00+00:00"
    signature = key.sign(time.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": b64encode(pem(key)).decode(),
        "flwr-signature": b64encode(signature).decode(),
        "flwr-timestamp": time,
    }


@dataclass
class Upstream:
    """Stands for the SuperLink: answers everything, and remembers what it was asked."""

    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    open: int = 0
    most: int = 0

    async def answer(self, request: Request) -> Response:
        self.open += 1
        self.most = max(self.most, self.open)
        target = request.scope["raw_path"].decode()
        try:
            self.requests.append((request.method, target, dict(request.headers), await request.body()))
            await asyncio.sleep(0.02)
        finally:
            self.open -= 1
        headers = {"x-secret": "inside", "flwr-version-incompatibility-message": "old"}
        return Response(b"answer", 201, headers, media_type="application/x-protobuf")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.create(tmp_path_factory.mktemp("proxy") / "home", CoordinatorSettings())


@pytest.fixture(scope="module")
def _upstream(home: Home) -> Iterator[tuple[Upstream, int]]:
    upstream = Upstream()
    everything = Route("/{path:path}", upstream.answer, methods=["GET", "POST", "PUT", "DELETE"])
    server = https_server(home, Starlette(routes=[everything]))
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(server, listener):
        yield upstream, listener.getsockname()[1]


@contextmanager
def proxy_to(port: int, home: Home, limits: Limits | None = None) -> Iterator[int]:
    """The port of a proxy before that one, which knows one node."""
    app = fleet_proxy.fleet_proxy(f"https://127.0.0.1:{port}", home.authority, pem(NODE).__eq__, limits)
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(https_server(home, app), listener):
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(home: Home, _upstream: tuple[Upstream, int]) -> Iterator[int]:
    """The port of a proxy before the stand-in."""
    with proxy_to(_upstream[1], home) as port:
        yield port


@pytest.fixture
def upstream(_upstream: tuple[Upstream, int]) -> Upstream:
    _upstream[0].requests.clear()
    _upstream[0].most = 0
    return _upstream[0]


@pytest.fixture(scope="module")
def context(home: Home) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(home.authority))


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(connection, server_hostname="127.0.0.1")


def status(port: int, context: ssl.SSLContext, request: bytes) -> int:
    """The status of the answer to these very bytes."""
    with connect(port, context) as connection:
        connection.sendall(request)
        match = re.match(rb"HTTP/1.1 (\d+)", connection.recv(4096))
        assert match is not None
        return int(match[1])


def post(target: str, *headers: str, body: str = "") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: proxy", *(headers or (f"Content-Length: {len(body)}",))]
    return ("\r\n".join([*lines, "", ""]) + body).encode("latin-1")


def test_a_fleet_request_passes_with_the_headers_that_flower_reads(
    proxy: int, context: ssl.SSLContext, upstream: Upstream
) -> None:
    headers = signed(NODE) | {
        "content-type": "application/x-protobuf",
        "x-forwarded-for": "10.0.0.1",
        "authorization": "Bearer 00",
        "connection": "keep-alive, flwr-signature",
        "te": "trailers",
    }
    body = bytes(range(256)) * 4096
    with httpx.Client(base_url=f"https://127.0.0.1:{proxy}", verify=context, trust_env=False) as client:
        answer = client.post(GOOD, content=body, headers=headers)
    assert (answer.status_code, answer.content) == (201, b"answer")
    assert answer.headers["flwr-version-incompatibility-message"] == "old"
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert "x-secret" not in answer.headers
    ((method, target, seen, received),) = upstream.requests
    assert (method, target, received) == ("POST", GOOD, body)
    assert seen["flwr-signature"] == headers["flwr-signature"]
    assert seen["host"] != f"127.0.0.1:{proxy}"
    assert not {"x-forwarded-for", "authorization", "te", "transfer-encoding"} & set(seen)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/docs",
        "/openapi.json",
        "/health",
        "/",
        "*",
        "/v1/fleet",
        "/v1/fleet/",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/..%2fcontrol%2fstart-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet%2fpull-messages",
        "/v1%2ffleet/pull-messages",
        "//v1/fleet/pull-messages",
        "/v1//fleet/pull-messages",
        "/v1/fleet//pull-messages",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/./pull-messages",
        "/v1/fleet/pull-messages;/../../control/start-run",
        "/v1/fleet/pull-messages?x=1",
        "/v1/fleet/pull-messages#x",
        "/v1/fleet/pull-messages%0d%0aHost:x",
        "/v1/fleet/pull-messages%00",
        "/V1/FLEET/PULL-MESSAGES",
        "/v1/fleet\\..\\control\\start-run",
        "https://127.0.0.1/v1/control/start-run",
        "https://127.0.0.1/v1/fleet/pull-messages",
        "http://proxy@127.0.0.1/v1/fleet/pull-messages",
    ],
)
def test_no_other_path_passes(proxy: int, context: ssl.SSLContext, upstream: Upstream, target: str) -> None:
    assert status(proxy, context, post(target)) in (400, 404)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (post(GOOD).replace(b"POST", b"GET", 1), 405),
        (post(GOOD).replace(b"POST", b"CONNECT", 1), 405),
        (post(GOOD, "X: no length"), 411),
        (post(GOOD, "Transfer-Encoding: chunked", body="0\r\n\r\n"), 411),
        (post(GOOD, "Transfer-Encoding: chunked", "Content-Length: 5", body="0\r\n\r\n"), 411),
        (post(GOOD, "Transfer-Encoding: xchunked", "Content-Length: 5", body="0\r\n\r\n"), 501),
        (post(GOOD, "Content-Length: 3", "Content-Length: 4", body="abcd"), 400),
        (post(GOOD, "Content-Length: -1"), 400),
        (post(GOOD, "Content-Length: +1", body="a"), 400),
        (post(GOOD, f"Content-Length: {fleet_proxy.MAX_BODY_BYTES + 1}"), 413),
        (post(GOOD, "Content-Length: 99999999999999999999"), 413),
        (post(GOOD, "Content-Length : 0"), 400),
        (post(GOOD, "X: " + "y" * 70_000), 411),  # or 400, if it arrives in pieces
        (b"POST /v1/fleet/pull-messages\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, int) else "",
)
def test_no_other_form_passes(
    proxy: int, context: ssl.SSLContext, upstream: Upstream, request_bytes: bytes, expected: int
) -> None:
    assert status(proxy, context, request_bytes) in {expected, 400}
    assert upstream.requests == []


def test_a_second_request_hidden_in_a_body_is_no_request(
    proxy: int, context: ssl.SSLContext, upstream: Upstream
) -> None:
    hidden = post("/v1/control/start-run").decode()
    assert status(proxy, context, post(GOOD, body=hidden)) == 201
    assert [(target, body) for _, target, _, body in upstream.requests] == [(GOOD, hidden.encode())]


def test_a_body_that_is_cut_off_never_counts_as_one(
    proxy: int, context: ssl.SSLContext, upstream: Upstream
) -> None:
    with connect(proxy, context) as connection:
        connection.sendall(post(GOOD, "Content-Length: 100", body="half"))
    assert status(proxy, context, post(GOOD)) == 201
    assert [body for *_, body in upstream.requests] == [b""]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(STRANGER),
        signed(NODE) | {"flwr-signature": signed(STRANGER)["flwr-signature"]},
        signed(NODE) | {"flwr-signature": "%"},
        signed(NODE) | {"flwr-timestamp": "2026-01-01T00:00:01+00:00"},
        {name: value for name, value in signed(NODE).items() if name != "flwr-timestamp"},
    ],
    ids=["none", "stranger", "borrowed key", "not base64", "another time", "no time"],
)
def test_a_large_body_of_a_stranger_is_never_read(
    proxy: int, context: ssl.SSLContext, upstream: Upstream, headers: dict[str, str]
) -> None:
    length = f"Content-Length: {fleet_proxy.MAX_BODY_BYTES}"
    lines = [f"{name}: {value}" for name, value in headers.items()]
    assert status(proxy, context, post("/v1/fleet/push-messages", length, *lines)) == 401
    assert upstream.requests == []


def test_large_bodies_are_passed_on_few_at_once(
    _upstream: tuple[Upstream, int],
    upstream: Upstream,
    home: Home,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_proxy, "LARGE_BODIES", 2)
    with (
        proxy_to(_upstream[1], home) as port,
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        sent = [pool.submit(client.post, GOOD, content=LARGE, headers=signed(NODE)) for _ in range(8)]
        assert [each.result().status_code for each in sent] == [201] * 8
    assert upstream.most == 2


def test_an_address_that_asks_too_often_is_told_to_wait(
    _upstream: tuple[Upstream, int], home: Home, context: ssl.SSLContext
) -> None:
    with proxy_to(_upstream[1], home, Limits(fleet=TokenBuckets(0.01, 2))) as port:
        assert [status(port, context, post(GOOD)) for _ in range(3)] == [201, 201, 503]


def test_a_superlink_that_is_away_may_be_tried_again(home: Home, context: ssl.SSLContext) -> None:
    """Flower's nodes retry after a 502, as they do when they connect to the SuperLink itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        away = probe.getsockname()[1]
    with proxy_to(away, home) as port:
        assert status(port, context, post(GOOD)) == 502


def test_who_sends_no_head_or_no_body_does_not_stay(
    proxy: int, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOOK_S", 0.3)
    monkeypatch.setattr(fleet_proxy, "EXCHANGE_S", 0.3)
    started = time.monotonic()
    for begun in (b"", b"POST /v1/fleet/pull"):
        with connect(proxy, context) as connection:
            connection.sendall(begun)
            assert connection.recv(100) == b""
    assert status(proxy, context, post(GOOD, "Content-Length: 100", body="half")) == 504
    assert time.monotonic() < started + 5


def test_who_never_finishes_a_body_does_not_stay(
    _upstream: tuple[Upstream, int], context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server behind every public port ends that by itself, whatever its application does."""
    monkeypatch.setattr(patience, "LOOK_S", 0.2)
    monkeypatch.setattr(patience, "BODY_LOOKS", 3)
    with connect(_upstream[1], context) as connection:
        connection.sendall(post(GOOD, "Content-Length: 100", body="half"))
        started = time.monotonic()
        assert connection.recv(100) == b""
        assert 0.3 < time.monotonic() - started < 5


def test_the_certificate_is_for_the_names_that_init_was_given(tmp_path: Path) -> None:
    home = Home.init(tmp_path, ["Fleet.Example.org", "192.0.2.7"], {"bind": "0.0.0.0"})  # noqa: S104
    assert home.certificate_hosts == {"fleet.example.org", "192.0.2.7", "localhost", "127.0.0.1"}
    assert home.settings.fleet_address == "fleet.example.org:9092"
    assert home.settings.control_url == "https://fleet.example.org:8443"
    assert home.settings.superlink_address == "127.0.0.1:9093"
