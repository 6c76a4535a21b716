"""HTTP/1.1 as the public servers speak it: a connection that sends no request does not stay."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_S = 15.0
"""How long a request's head may take: uvicorn itself bounds only the pause between two requests."""
MAX_CONNECTIONS = 1000
"""More at once are answered with status 503."""


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, with an end to connections whose next request does not arrive."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection every `HEAD_S` seconds."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_S, self._look, None)

    def _look(self, before: RequestResponseCycle | None) -> None:
        current: Any = self.cycle
        if self.transport.is_closing():
            return
        if current is before and (current is None or current.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(HEAD_S, self._look, current)
