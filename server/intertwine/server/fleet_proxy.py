"""The public way to Flower's SuperLink: POST /v1/fleet/NAME is passed on, and nothing else.

The SuperLink's port also carries its Control and Runtime APIs, which know no callers: whoever reaches those
can register nodes and start runs. So it listens on loopback, and this proxy on the public address. A path has
to be one of the Fleet API to the letter, before any decoding, and of the headers only those that Flower reads
go on. Who sent a request is then for the SuperLink to find out: a node signs each with its key.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from intertwine.protocols.fab import PAYLOAD_LIMIT

MAX_BODY_BYTES = PAYLOAD_LIMIT + (1 << 20)
"""One payload in Flower's wrapping."""
EXCHANGE_S = 120.0
"""How long a request's body and the SuperLink's answer to it may take together."""
_CALL = re.compile(rb"/v1/fleet/[a-z]+(-[a-z]+)*")
_REQUEST_HEADERS = re.compile(r"(content-(type|length)|accept|x-request-id|flwr-[a-z0-9-]+)")
_ANSWER_HEADERS = re.compile(r"(content-(type|length|encoding)|flwr-[a-z0-9-]+)")
_KEPT_S = 2.0
"""How long a connection to the SuperLink is kept for the next request; the SuperLink closes it after 5 s."""


def fleet_proxy(superlink: str, ca: Path) -> Starlette:
    """The application. superlink: "https://host:port", whose certificate is signed by the CA in this file."""

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

    return Starlette(routes=[Mount("/", _answer)], lifespan=lifespan)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    try:
        async with asyncio.timeout(EXCHANGE_S):
            response = _refusal(request) or await _pass_on(request)
    except (TimeoutError, httpx.TimeoutException):
        response = _say(504, "The exchange took too long.")
    except httpx.TransportError:
        response = _say(502, "The SuperLink does not answer.")
    except ClientDisconnect:
        return
    await response(scope, receive, send)


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
