"""The control plane over HTTPS (FastAPI): participants, their keys and records, published models, the log.

Errors are JSON objects {"error", "remedy"}; no stack trace ever leaves. Bodies are bounded before they
are parsed.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from intertwine.protocols.addresses import is_loopback
from intertwine.protocols.enrolment import EnrolmentAnswer, EnrolmentRequest
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import FederationError, IntertwineError, StorageError, VerificationError
from intertwine.protocols.keys import KeyStatus, NewKey
from intertwine.protocols.publication import ModelRecord
from intertwine.protocols.round import Signed
from intertwine.server.access import AccessError, Caller, CallerRole, RoleError, caller
from intertwine.server.admin_api import Authorise, ForgetDriver, admin_router
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.datasets import MAX_ENVELOPE_BYTES, enrol_dataset
from intertwine.server.enrolment import RegisterNode, enrol
from intertwine.server.home import Home
from intertwine.server.limits import LimitError, Limits
from intertwine.server.log_api import NotFoundError, log_router
from intertwine.server.membership import change_key, key_status
from intertwine.server.metrics import LogMetrics
from intertwine.server.store import Store

MAX_BODY_BYTES = 64 << 10
DATASETS = "/v1/datasets"
KEYS = "/v1/keys"
_log = logging.getLogger(__name__)


def control_plane(
    home: Home,
    store: Store,
    register_node: RegisterNode,
    forget_driver: ForgetDriver,
    limits: Limits | None = None,
) -> FastAPI:
    """Build the application over one coordinator's home."""
    limits = limits or Limits()
    app = FastAPI(title="intertwine control plane", docs_url=None, redoc_url=None)
    for kind, answer in _HANDLERS.items():
        app.add_exception_handler(kind, answer)
    app.middleware("http")(_bound_body)
    app.middleware("http")(partial(_admit_address, limits))

    def allow(*roles: CallerRole) -> Callable[[Request, str], Caller]:
        def admit(request: Request, authorization: Annotated[str, Header(max_length=200)] = "") -> Caller:
            try:
                return _admit(store, limits, authorization, roles)
            except (AccessError, RoleError) as error:
                _report_denial(limits, request, error)
                raise

        return admit

    _add_metrics(app, store, allow("auditor", "coordinator"))
    app.include_router(log_router(store, coordinator_policy(home)))
    app.include_router(admin_router(home, store, allow, forget_driver))
    app.include_router(_participant_router(home, store, allow, register_node))
    app.include_router(_public_router(home, store))
    return app


def _add_metrics(app: FastAPI, store: Store, reader: Callable[[Request, str], Caller]) -> None:
    metrics = LogMetrics(store)

    @app.get("/metrics", response_class=Response)
    def show(request: Request) -> Response:
        """Prometheus metrics, for auditors and coordinators, and for whoever asks from this machine."""
        if not (request.client and is_loopback(request.client.host)):
            reader(request, request.headers.get("authorization", ""))
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _public_router(home: Home, store: Store) -> APIRouter:
    """What everybody may ask."""
    router = APIRouter()

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz")
    def ready() -> dict[str, str]:
        """The database answers."""
        store.runs()
        return {"status": "ready"}

    @router.get("/v1/ca")
    def authority() -> Response:
        """The deployment's CA certificate; its fingerprint is in every invitation."""
        return Response(home.authority.read_bytes(), media_type="application/x-pem-file")

    return router


def _participant_router(home: Home, store: Store, allow: Authorise, register_node: RegisterNode) -> APIRouter:
    """Enrolment, and what participants ask with the token that they got there."""
    router = APIRouter()
    Sender: TypeAlias = Annotated[Caller, Depends(allow("participant"))]
    anyone = Depends(allow("participant", "auditor", "coordinator"))

    @router.post("/v1/enrolments", status_code=201, response_model=EnrolmentAnswer)
    async def enrolments(request: Request) -> Response:
        """Register a participant's keys against a one-time invitation."""
        document = EnrolmentRequest.decode(await request.body())
        answer = await run_in_threadpool(enrol, home, store, document, register_node)
        return Response(answer.encode(), 201, media_type="application/json")

    @router.post(DATASETS, status_code=201)
    async def datasets(request: Request, sender: Sender) -> dict[str, str]:
        """Verify and log a participant's commitments to records; the same bytes again are accepted again."""
        envelope = await request.body()
        return {"dataset": await run_in_threadpool(enrol_dataset, store, sender.name, envelope)}

    @router.get(KEYS, response_model=KeyStatus)
    def key(sender: Sender) -> Response:
        """The sender's signing key in force, and how often it was changed."""
        return Response(key_status(store, sender.name).encode(), media_type="application/json")

    @router.post(KEYS, status_code=201, response_model=KeyStatus)
    async def keys(request: Request, sender: Sender) -> Response:
        """Replace the sender's signing key; the latest change is accepted again, and changes nothing."""
        change = Signed[NewKey].decode(await request.body())
        status = await run_in_threadpool(change_key, store, sender.name, change)
        return Response(status.encode(), 201, media_type="application/json")

    @router.get("/v1/models/{task}", response_model=ModelRecord, dependencies=[anyone])
    def model(task: str) -> Response:
        """The newest published model's record, with its proof of being in the log."""
        return Response(_latest_record(store, task).encode(), media_type="application/json")

    @router.get("/v1/models/{task}/onnx", dependencies=[anyone])
    def model_file(task: str) -> Response:
        """The ONNX file that the record names."""
        publication = _latest_publication(store, task)[1]
        return Response(store.blob(publication.onnx), media_type="application/octet-stream")

    return router


def _admit(store: Store, limits: Limits, authorization: str, roles: Sequence[CallerRole]) -> Caller:
    """Who asks; AccessError without a valid token, RoleError without one of the roles, or LimitError."""
    found = caller(store, authorization)
    limits.callers.take((found.role, found.name))
    if found.role not in roles:
        raise RoleError(found)
    return found


def _report_denial(limits: Limits, request: Request, error: AccessError | RoleError) -> None:
    """Tell the log who was denied what, unless it has had too many such lines lately."""
    try:
        limits.denials.take(None)
    except LimitError:
        return
    address = request.client.host if request.client else ""
    who = f"{error.caller.role} {error.caller.name}" if isinstance(error, RoleError) else "a caller unknown"
    _log.warning("denied to %s at %s: %s %.200r", who, address, request.method, request.url.path)


async def _admit_address(
    limits: Limits, request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Refuse an address that asks too often (429)."""
    try:
        limits.admit_address(request.client.host if request.client else "", request.url.path)
    except LimitError as error:
        return await _refuse(request, error)
    return await call_next(request)


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
    status, headers = _STATUS.get(type(error), (400, {}))
    if isinstance(error, LimitError):
        headers = {"Retry-After": str(error.wait_s)}
    if isinstance(error, VerificationError):
        problem = f"check {error.check} failed: {problem}"
        status = 409 if error.check == "duplicate_dataset" else status
    return _answer(status, problem, remedy, headers)


async def _refuse_path(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = error.headers if isinstance(error, HTTPException) else None
    return _answer(status, f"{HTTPStatus(status).phrase}.", "Compare it with the documentation.", headers)


async def _refuse_form(_: Request, error: Exception) -> Response:
    parts = error.errors() if isinstance(error, RequestValidationError) else []
    names = ", ".join(str(part["loc"][-1]) for part in parts)
    return _answer(422, f"The request is malformed: {names}.", "Compare it with the documentation.")


async def _defer(_: Request, error: Exception) -> Response:
    _log.error("%s", error)  # it says where the database is, which is for us alone
    return _answer(503, "The coordinator's storage does not answer.", "Try again later.")


async def _hide(_: Request, error: Exception) -> Response:
    _log.error("unexpected error in the control plane", exc_info=error)
    return _answer(500, "The coordinator failed to answer.", "Try again, or tell the coordinator.")


def _answer(status: int, problem: str, remedy: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": problem, "remedy": remedy}, status, headers)


_BEARER = "WWW-Authenticate"
_STATUS: dict[type[Exception], tuple[int, dict[str, str]]] = {
    AccessError: (401, {_BEARER: "Bearer"}),
    RoleError: (403, {_BEARER: 'Bearer error="insufficient_scope"'}),
    NotFoundError: (404, {}),
    LimitError: (429, {}),
    FederationError: (503, {}),
}
_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    StorageError: _defer,
    IntertwineError: _refuse,
    RequestValidationError: _refuse_form,
    HTTPException: _refuse_path,
    Exception: _hide,
}
