"""Routes that refuse deeply nested bodies before the JSON parser recurses into them.

The parser's own guard is the interpreter's recursion limit, which any library may raise above what the stack
can bear.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from intertwine.protocols.encoding import MAX_DEPTH, nesting


class ShallowRoute(APIRoute):
    """A route whose bodies nest no deeper than documents may: 400 otherwise."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, behind the check."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if nesting(await request.body()) > MAX_DEPTH:
                raise HTTPException(400)
            return await handle(request)

        return checked
