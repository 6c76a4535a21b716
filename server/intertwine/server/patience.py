"""HTTP/1.1 as the public servers speak it: a connection on which no request arrives does not stay."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

LOOK_S = 15.0
"""How often a connection is looked at: uvicorn itself bounds only the pause between two requests."""
BODY_LOOKS = 20
"""Looks that may find the same request's body still on its way; a head may be found so once."""
MAX_CONNECTIONS = 1000
"""More at once are answered with status 503."""


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, with an end to connections on which a request takes too long to arrive."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection."""
        super().connection_made(transport)
        self.loop.call_later(LOOK_S, self._look, None, 1)

    def _look(self, before: RequestResponseCycle | None, looks: int) -> None:
        """before: what `looks` earlier looks in a row have found, the last one among them."""
        current: Any = self.cycle
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
