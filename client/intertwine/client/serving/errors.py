"""What a request is refused with: always one JSON object with `error` and `remedy`, never a stack trace."""

import logging
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from intertwine.protocols.errors import FederationError, IntertwineError

Responses: TypeAlias = dict[int | str, dict[str, Any]]
"""Answers by status, as an endpoint's description has them."""
_MAX_SENTENCE = 500
_log = logging.getLogger(__name__)


class MissingModelError(FederationError):
    """No model of a task can be used yet."""


class NotJoinedError(IntertwineError):
    """A task that the participant has not joined."""


class Refusal(BaseModel):
    """Why a request was refused, and what to do about it."""

    error: str
    remedy: str


def refusal(status: int, problem: str, remedy: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse(Refusal(error=problem, remedy=remedy).model_dump(), status, headers)


def described(statuses: dict[int, str]) -> Responses:
    """The description of refusals, from status to reason: JSON, whatever the endpoint else answers with."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    return {status: {"content": content, "description": reason} for status, reason in statuses.items()}


def add_error_answers(app: FastAPI) -> None:
    """Have every error answered in the same form."""
    app.add_exception_handler(IntertwineError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_form)
    app.add_exception_handler(HTTPException, _refuse_address)
    app.add_exception_handler(Exception, _hide)


async def _refuse(_: Request, error: Exception) -> Response:
    problem, remedy = (error.problem, error.remedy) if isinstance(error, IntertwineError) else ("", "")
    return refusal(_STATUS.get(type(error), 422), problem, remedy)


async def _refuse_form(_: Request, error: Exception) -> Response:
    """The first thing wrong with a request: where, and what was expected. Its values are not repeated."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": ""}
    place = ".".join(str(part) for part in first["loc"])
    reason = str(first["msg"]).removeprefix("Value error, ")
    problem = f"{place}: {reason}."[:_MAX_SENTENCE]
    return refusal(422, problem, "Correct that field; /openapi.json describes every request.")


async def _refuse_address(_: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown address, another method, a body that is no JSON."""
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (400, None)
    problem, remedy = _FRAMEWORK.get(status, ("The request cannot be read.", "Send JSON."))
    return refusal(status, problem, remedy, dict(headers or {}))


async def _hide(_: Request, error: Exception) -> Response:
    _log.error("unexpected error while answering a request", exc_info=error)
    return refusal(500, "The agent failed to answer.", "Try again; the agent's log says more.")


_STATUS: dict[type[Exception], int] = {MissingModelError: 503, NotJoinedError: 404}
_FRAMEWORK = {
    404: (
        "There is no such address, or this participant has not joined its task.",
        "Ask /v1/models for the tasks, and /openapi.json for the addresses.",
    ),
    405: ("This address does not take that method.", "Use the method that the Allow header names."),
}
