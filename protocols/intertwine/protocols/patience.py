"""What public web servers add to uvicorn's protocol: connections end, and refusals have one form.

Written without a web server, which an auditor's install does not have: see `Impatience`.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

LOOK_S = 15.0
"""How often a connection is looked at: uvicorn itself bounds only the pause between two requests."""
BODY_LOOKS = 20
"""Looks that may find the same request's body still on its way; a head may be found so once."""
_CROWDED = {"error": "There are too many connections.", "remedy": "Try again in a minute."}
_MALFORMED = {"error": "The request is not HTTP/1.1.", "remedy": "Compare it with the documentation."}
_HEADERS = {"content-type": "application/json", "connection": "close"}
_log = logging.getLogger(__name__)


class Impatience(asyncio.Protocol):
    """To stand before `H11Protocol` among a class's bases.

    A connection on which a request takes too long to arrive is closed. One beyond the server's limit, and
    one on which no HTTP arrives, is answered with a JSON object {"error", "remedy"} and closed.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    connections: set[Any]
    limit_concurrency: int | None
    app: Any

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection."""
        super().connection_made(transport)
        most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn would answer with plain text
        if most is not None and len(self.connections) >= most:
            _log.warning("there are %d connections: another one is sent away", most)
            self.app = _send_away
        self.loop.call_later(LOOK_S, self._look, None, 1)

    def send_400_response(self, _: str) -> None:
        """Answer what is not HTTP, unless an answer is under way, and close the connection."""
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps(_MALFORMED).encode()
            fields = _HEADERS | {"content-length": str(len(body))}
            lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in fields.items())]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _look(self, before: object, looks: int) -> None:
        """before: the request that `looks` earlier looks in a row have found, the last one among them."""
        current = self.cycle
        looks = looks if current is before else 0
        if self.transport.is_closing():
            return
        if current is None or current.response_complete:
            late = looks >= 1
        else:
            late = current.more_body and looks >= BODY_LOOKS
        if late:
            self.transport.close()
        else:
            self.loop.call_later(LOOK_S, self._look, current, looks + 1)


async def _send_away(_scope: object, _receive: object, send: Callable[[object], Awaitable[None]]) -> None:
    body = json.dumps(_CROWDED).encode()
    fields = _HEADERS | {"content-length": str(len(body)), "retry-after": "60"}
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
