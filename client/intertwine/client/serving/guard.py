"""What stands before every request: its API key, its size, how many there are at once, and their count.

Plain ASGI, so that a request is refused before any of its body is read.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.serving.errors import refusal
from intertwine.client.serving.metrics import Metrics
from intertwine.protocols.errors import IntertwineError

MAX_BODY_BYTES = 2 << 20
MAX_IN_PROGRESS = 64
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""What needs no key: it says nothing about data or predictions."""
_log = logging.getLogger(__name__)


class Guard:
    """Refuses requests without a valid key (401) or length (411), too large (413), or too many (503)."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, metrics: Metrics) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        refused = self._refusal(scope["path"], Headers(scope=scope))
        with self._counted():
            try:
                await (refused or self._app)(scope, receive, watched)
            finally:
                endpoint = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(endpoint, str(status)).inc()
                self._metrics.seconds.labels(endpoint).observe(time.perf_counter() - start)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._count += 1
        self._metrics.in_progress.set(self._count)
        try:
            yield
        finally:
            self._count -= 1
            self._metrics.in_progress.set(self._count)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        """The answer to a request that must not reach the application; None if it may."""
        if path in OPEN_PATHS:
            return None
        try:
            allowed = self._keys.holds(_bearer(headers))
        except IntertwineError as error:
            _log.error("the API keys cannot be read: %s", error)
            return refusal(503, "The agent cannot read its API keys.", "Tell whoever runs it.")
        if not allowed:
            problem = "The API key is missing, unknown or removed."
            remedy = "Send the header Authorization: Bearer KEY."
            return refusal(401, problem, remedy, {"WWW-Authenticate": "Bearer"})
        if self._count >= MAX_IN_PROGRESS:
            problem = f"{MAX_IN_PROGRESS} requests are being answered already."
            return refusal(503, problem, "Try again in a second.", {"Retry-After": "1"})
        return _size_refusal(headers)


def _bearer(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _size_refusal(headers: Headers) -> Response | None:
    if "transfer-encoding" in headers:
        return refusal(411, "The request does not declare its length.", "Send Content-Length.")
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > MAX_BODY_BYTES:
        return refusal(413, f"The request is larger than {MAX_BODY_BYTES} bytes.", "Split it up.")
    return None
