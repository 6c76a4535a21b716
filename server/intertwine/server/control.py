"""The control plane over HTTPS (FastAPI): participants, their keys and records, published models, the log.

Errors are JSON objects {"error", "remedy"}; no stack trace ever leaves. Bodies are bounded before they
are parsed.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import select

from intertwine.protocols.encoding import sha256
from intertwine.protocols.enrolment import EnrolmentAnswer, EnrolmentRequest
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import FederationError, IntertwineError, VerificationError
from intertwine.protocols.keys import KeyStatus, NewKey
from intertwine.protocols.publication import ModelRecord
from intertwine.protocols.round import Signed
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.datasets import MAX_ENVELOPE_BYTES, enrol_dataset
from intertwine.server.enrolment import RegisterNode, enrol
from intertwine.server.home import Home
from intertwine.server.log_api import NotFoundError, log_router
from intertwine.server.membership import change_key, key_status, revoked
from intertwine.server.store import Participant, Store

MAX_BODY_BYTES = 64 << 10
DATASETS = "/v1/datasets"
KEYS = "/v1/keys"
_log = logging.getLogger(__name__)


class AccessError(IntertwineError):
    """A request without a valid access token."""


def control_plane(home: Home, store: Store, register_node: RegisterNode) -> FastAPI:
    """Build the application over one coordinator's home."""
    app = FastAPI(title="intertwine control plane", docs_url=None, redoc_url=None)
    app.add_exception_handler(IntertwineError, _refuse)
    app.add_exception_handler(Exception, _hide)
    app.add_exception_handler(RequestValidationError, _refuse_form)
    app.middleware("http")(_bound_body)
    app.include_router(log_router(store, coordinator_policy(home)))

    def authenticated(authorization: Annotated[str, Header(max_length=200)] = "") -> str:
        return _participant_of(store, authorization)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        """The database answers."""
        store.runs()
        return {"status": "ready"}

    @app.get("/v1/ca")
    def authority() -> Response:
        """The deployment's CA certificate; its fingerprint is in every invitation."""
        return Response(home.authority.read_bytes(), media_type="application/x-pem-file")

    @app.post("/v1/enrolments", status_code=201, response_model=EnrolmentAnswer)
    async def enrolments(request: Request) -> Response:
        """Register a participant's keys against a one-time invitation."""
        document = EnrolmentRequest.decode(await request.body())
        answer = await run_in_threadpool(enrol, home, store, document, register_node)
        return Response(answer.encode(), 201, media_type="application/json")

    @app.post(DATASETS, status_code=201)
    async def datasets(request: Request, sender: Annotated[str, Depends(authenticated)]) -> dict[str, str]:
        """Verify and log a participant's commitments to records; the same bytes again are accepted again."""
        envelope = await request.body()
        return {"dataset": await run_in_threadpool(enrol_dataset, store, sender, envelope)}

    @app.get(KEYS, response_model=KeyStatus)
    def key(sender: Annotated[str, Depends(authenticated)]) -> Response:
        """The sender's signing key in force, and how often it was changed."""
        return Response(key_status(store, sender).encode(), media_type="application/json")

    @app.post(KEYS, status_code=201, response_model=KeyStatus)
    async def keys(request: Request, sender: Annotated[str, Depends(authenticated)]) -> Response:
        """Replace the sender's signing key; the latest change is accepted again, and changes nothing."""
        change = Signed[NewKey].decode(await request.body())
        status = await run_in_threadpool(change_key, store, sender, change)
        return Response(status.encode(), 201, media_type="application/json")

    @app.get("/v1/models/{task}", response_model=ModelRecord)
    def model(task: str, _: Annotated[str, Depends(authenticated)]) -> Response:
        """The newest published model's record, with its proof of being in the log."""
        return Response(_latest_record(store, task).encode(), media_type="application/json")

    @app.get("/v1/models/{task}/onnx")
    def model_file(task: str, _: Annotated[str, Depends(authenticated)]) -> Response:
        """The ONNX file that the record names."""
        publication = _latest_publication(store, task)[1]
        return Response(store.blob(publication.onnx), media_type="application/octet-stream")

    return app


def _participant_of(store: Store, authorization: str) -> str:
    """The participant whose access token this is; AccessError if it is nobody's."""
    scheme, _, token = authorization.partition(" ")
    try:
        digest = sha256(bytes.fromhex(token))
    except ValueError:
        digest = ""
    if scheme.lower() == "bearer" and digest:
        with store.transaction() as session:
            found = session.scalar(select(Participant).where(Participant.access_digest == digest))
            gone = found is not None and revoked(session, [found.name])
        if found is not None and not gone and hmac.compare_digest(found.access_digest, digest):
            return found.name
    raise AccessError("The access token is missing, unknown or revoked.", "Enrol with an invitation first.")


def _latest_publication(store: Store, task: str) -> tuple[int, Publication]:
    """Where in the log the task's newest published model is, and its entry; NotFoundError if none is."""
    found = store.publication(task)
    if found is None:
        raise NotFoundError(f"No model of task {task!r} has been published.", "Wait for a run to finish.")
    return found


def _latest_record(store: Store, task: str) -> ModelRecord:
    position, publication = _latest_publication(store, task)
    view = store.view()
    return ModelRecord(
        publication=publication, inclusion=view.inclusion(position), checkpoint=view.checkpoint
    )


async def _bound_body(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a body without a declared length (411) or with too large a one (413)."""
    if request.method in ("POST", "PUT", "PATCH"):
        declared = request.headers.get("content-length", "")
        if not declared.isdigit():
            return _answer(411, "The request does not declare its length.", "Send Content-Length.")
        limit = MAX_ENVELOPE_BYTES if request.url.path == DATASETS else MAX_BODY_BYTES
        if int(declared) > limit:
            return _answer(413, f"The request is larger than {limit} bytes.", "Send less.")
    return await call_next(request)


async def _refuse(_: Request, error: Exception) -> Response:
    problem, remedy = (error.problem, error.remedy) if isinstance(error, IntertwineError) else ("", "")
    status = _STATUS.get(type(error), 400)
    if isinstance(error, VerificationError):
        problem = f"check {error.check} failed: {problem}"
        status = 409 if error.check == "duplicate_dataset" else status
    return _answer(status, problem, remedy)


async def _refuse_form(_: Request, error: Exception) -> Response:
    parts = error.errors() if isinstance(error, RequestValidationError) else []
    names = ", ".join(str(part["loc"][-1]) for part in parts)
    return _answer(422, f"The request is malformed: {names}.", "Compare it with the documentation.")


async def _hide(_: Request, error: Exception) -> Response:
    _log.error("unexpected error in the control plane", exc_info=error)
    return _answer(500, "The coordinator failed to answer.", "Try again, or tell the coordinator.")


def _answer(status: int, problem: str, remedy: str) -> Response:
    return JSONResponse({"error": problem, "remedy": remedy}, status)


_STATUS: dict[type[Exception], int] = {AccessError: 401, NotFoundError: 404, FederationError: 503}
