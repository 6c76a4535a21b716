"""The public way to Flower's SuperLink: POST /v1/fleet/NAME is passed on, and nothing else.

The SuperLink's port also carries its Control and Runtime APIs, which know no callers: whoever reaches those
can register nodes and start runs. So it listens on loopback, and this proxy on the public address. A path has
to be one of the Fleet API to the letter, before any decoding, and of the headers only those that Flower reads
go on. Who sent a request is for the SuperLink to find out, but it reads and parses a body before it looks at
who signed the request. So large ones, which carry payloads, are let through for enrolled nodes only, and few
at once.
"""

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from intertwine.protocols.fab import PAYLOAD_LIMIT
from intertwine.server.limits import LimitError, Limits
from intertwine.server.membership import active_participants
from intertwine.server.store import Store
from intertwine.server.superlink import node_key_pem

MAX_BODY_BYTES = PAYLOAD_LIMIT + (64 << 10)
"""One payload in Flower's wrapping."""
SMALL_BODY_BYTES = 16 << 10
"""Most bytes of a body that passes whoever sends it; what nodes ask without a payload has some hundreds."""
LARGE_BODIES = 12
"""Larger ones that are passed on at once, 25 MiB in all; others wait for their turn, unread."""
EXCHANGE_S = 120.0
"""How long a request's body and the SuperLink's answer to it may take together."""
_CALL = re.compile(rb"/v1/fleet/[a-z]+(-[a-z]+)*")
_REQUEST_HEADERS = re.compile(r"(content-(type|length)|accept|x-request-id|flwr-[a-z0-9-]+)")
_ANSWER_HEADERS = re.compile(r"(content-(type|length|encoding)|flwr-[a-z0-9-]+)")
_KEPT_S = 2.0
"""How long a connection to the SuperLink is kept for the next request; the SuperLink closes it after 5 s."""

IsNode = Callable[[bytes], bool]
"""Whether a public key, in PEM, is that of an enrolled participant's node."""


def enrolled_node(store: Store, key: bytes) -> bool:
    """Whether this is the node key, in PEM, of a participant who is not revoked."""
    return any(node_key_pem(member.node_key.encode()) == key for member in active_participants(store))


def fleet_proxy(superlink: str, ca: Path, is_node: IsNode, limits: Limits | None = None) -> Starlette:
    """The application. superlink: "https://host:port", whose certificate is signed by the CA in this file."""
    limits = limits or Limits()
    large = asyncio.Semaphore(LARGE_BODIES)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, httpx.AsyncClient]]:
        async with httpx.AsyncClient(
            base_url=superlink,
            verify=ssl.create_default_context(cafile=str(ca)),
            timeout=EXCHANGE_S,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=_KEPT_S),
            trust_env=False,
        ) as client:
            yield {"superlink": client}

    async def pass_on(request: Request) -> Response:
        if int(request.headers["content-length"]) <= SMALL_BODY_BYTES:
            return await _pass_on(request)
        if not await run_in_threadpool(_is_signed, request.headers, is_node):
            return _say(401, f"A request of more than {SMALL_BODY_BYTES} bytes takes an enrolled node's key.")
        async with large:
            return await _pass_on(request)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            limits.admit_address(request.client.host if request.client else "", request.url.path)
            async with asyncio.timeout(EXCHANGE_S):
                response = _refusal(request) or await pass_on(request)
        except LimitError as error:
            # Flower's nodes try again after a 503, and give up after a 429.
            response = _say(503, "There were too many requests.", {"Retry-After": str(error.wait_s)})
        except (TimeoutError, httpx.TimeoutException):
            response = _say(504, "The exchange took too long.")
        except httpx.TransportError:
            response = _say(502, "The SuperLink does not answer.")
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    return Starlette(routes=[Mount("/", answer)], lifespan=lifespan)


def _refusal(request: Request) -> Response | None:
    """What is wrong with a request, if it must not reach the SuperLink."""
    if request.scope["query_string"] or not _CALL.fullmatch(request.scope["raw_path"]):
        return _say(404, "There is nothing here but the Fleet API.")
    if request.method != "POST":
        return _say(405, "The Fleet API takes POST.", {"Allow": "POST"})
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not re.fullmatch("[0-9]{1,20}", length):
        return _say(411, "The request does not declare its length.")
    if int(length) > MAX_BODY_BYTES:
        return _say(413, f"The request is larger than {MAX_BODY_BYTES} bytes.")
    return None


def _is_signed(headers: Mapping[str, str], is_node: IsNode) -> bool:
    """Whether an enrolled node's key signed the headers; when, and for which node, the SuperLink looks at."""
    try:
        key = b64decode(headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
        signature = b64decode(headers[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
        time = headers[TIMESTAMP_HEADER].encode("ascii")
    except (KeyError, ValueError):
        return False
    return is_node(key) and verify_signature(bytes_to_public_key(key), time, signature)


async def _pass_on(request: Request) -> Response:
    client: httpx.AsyncClient = request.state.superlink
    outgoing = client.build_request(
        "POST",
        request.scope["raw_path"].decode("ascii"),
        headers=_chosen(request.headers, _REQUEST_HEADERS) | {"accept-encoding": "identity"},
        content=request.stream(),
    )
    answer = await client.send(outgoing, stream=True)
    return StreamingResponse(
        answer.aiter_raw(),
        answer.status_code,
        _chosen(answer.headers, _ANSWER_HEADERS),
        background=BackgroundTask(answer.aclose),
    )


def _chosen(headers: Mapping[str, str], names: re.Pattern[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if names.fullmatch(name)}


def _say(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status, headers)
